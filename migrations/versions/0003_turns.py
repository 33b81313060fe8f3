"""Turns of simulations in the queue, and the rate at which shards finish.

Revision ID: 0003
"""

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # retention is a setting: an end plus that time
    op.execute("DROP INDEX ix_simulations_expires_at")
    op.execute("ALTER TABLE simulations DROP COLUMN expires_at, ADD COLUMN turn bigint NOT NULL DEFAULT 0")
    op.execute("ALTER TABLE simulations ALTER COLUMN turn DROP DEFAULT")
    op.execute("CREATE INDEX ix_simulations_finished_at ON simulations (finished_at)")
    op.execute(
        "CREATE INDEX ix_shards_without_job ON shards (simulation_id, index) WHERE state = 'queued' AND job_id IS NULL"
    )
    op.execute("CREATE INDEX ix_shards_finished_at ON shards (finished_at) WHERE state = 'succeeded'")


def downgrade() -> None:
    op.execute("DROP INDEX ix_shards_without_job")
    op.execute("DROP INDEX ix_shards_finished_at")
    op.execute("DROP INDEX ix_simulations_finished_at")
    op.execute("ALTER TABLE simulations DROP COLUMN turn, ADD COLUMN expires_at timestamptz")
    op.execute("CREATE INDEX ix_simulations_expires_at ON simulations (expires_at)")
