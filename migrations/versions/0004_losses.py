"""Attempts of a shard that failed by themselves, and those whose worker was lost, counted apart.

Revision ID: 0004
"""

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute(
        "ALTER TABLE shards ADD COLUMN failures integer NOT NULL DEFAULT 0,"
        " ADD COLUMN losses integer NOT NULL DEFAULT 0"
    )


def downgrade() -> None:
    op.execute("ALTER TABLE shards DROP COLUMN failures, DROP COLUMN losses")
