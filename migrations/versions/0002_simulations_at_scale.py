"""Simulations of several kinds, with priorities, submitters, a precision to reach, and a time to be kept.

Revision ID: 0002
"""

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

UPGRADE = (
    """
    ALTER TABLE simulations
        ADD COLUMN kind text NOT NULL DEFAULT 'regression',
        ADD COLUMN outcomes integer,
        ADD COLUMN priority text NOT NULL DEFAULT 'normal',
        ADD COLUMN submitter text NOT NULL DEFAULT 'anonymous',
        -- a precision to reach, and the shards that belong to the result so far decided on; null: all of them
        ADD COLUMN relative_standard_error double precision,
        ADD COLUMN max_seconds double precision,
        ADD COLUMN wanted_shards integer,
        ADD COLUMN stopped text,
        ADD COLUMN expires_at timestamptz,
        ADD CONSTRAINT ck_simulations_priority CHECK (priority IN ('low', 'normal', 'high')),
        ADD CONSTRAINT ck_simulations_stopped CHECK (stopped IN ('precision', 'time', 'replicates'))
    """,
    "UPDATE simulations SET outcomes = jsonb_array_length(points), wanted_shards = shard_count",
    """
    ALTER TABLE simulations
        ALTER COLUMN kind DROP DEFAULT,
        ALTER COLUMN outcomes SET NOT NULL,
        ALTER COLUMN wanted_shards SET NOT NULL,
        ADD CONSTRAINT ck_simulations_wanted CHECK (wanted_shards BETWEEN 1 AND shard_count)
    """,
    "CREATE INDEX ix_simulations_active ON simulations (submitter) WHERE state IN ('queued', 'running')",
    "CREATE INDEX ix_simulations_expires_at ON simulations (expires_at)",
)


def upgrade() -> None:
    for statement in UPGRADE:
        op.execute(statement)


def downgrade() -> None:
    op.execute("DROP INDEX ix_simulations_active")
    op.execute(
        "ALTER TABLE simulations DROP COLUMN kind, DROP COLUMN outcomes, DROP COLUMN priority, DROP COLUMN submitter,"
        " DROP COLUMN relative_standard_error, DROP COLUMN max_seconds, DROP COLUMN wanted_shards,"
        " DROP COLUMN stopped, DROP COLUMN expires_at"
    )
