"""Jobs that are stopped when they overfit: the request for it, the last verdict on their curve, and the outcome."""

import sqlalchemy as sa
from alembic import op

revision, down_revision = "0009", "0008"
LOSES = "which jobs are to be stopped when they overfit, and what their curves said"
DROPS: tuple[str, ...] = ()


def upgrade() -> None:
    op.add_column("jobs", sa.Column("stop_on_overfit", sa.Boolean, nullable=False, server_default=sa.false()))
    op.add_column("jobs", sa.Column("curve", sa.JSON))
    op.add_column("jobs", sa.Column("curve_at", sa.DateTime))
    op.add_column("jobs", sa.Column("stopped_early", sa.JSON))


def downgrade() -> None:
    for name in ("stopped_early", "curve_at", "curve", "stop_on_overfit"):
        op.drop_column("jobs", name)
