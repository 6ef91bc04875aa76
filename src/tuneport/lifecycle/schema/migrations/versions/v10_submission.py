"""Starts whose answer was lost: the clock readings since then, candidates for the job, and the time to look for a
second one."""

import sqlalchemy as sa
from alembic import op

revision, down_revision = "0010", "0009"
LOSES = "what is known about jobs whose start was not answered"
DROPS: tuple[str, ...] = ()


def upgrade() -> None:
    op.add_column("jobs", sa.Column("submission", sa.JSON))
    op.add_column("jobs", sa.Column("recheck_at", sa.DateTime))
    op.drop_column("jobs", "absent_since")


def downgrade() -> None:
    op.add_column("jobs", sa.Column("absent_since", sa.DateTime))
    for name in ("recheck_at", "submission"):
        op.drop_column("jobs", name)
