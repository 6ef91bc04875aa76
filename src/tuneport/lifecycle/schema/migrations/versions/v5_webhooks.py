"""Endpoints to notify when a job ends, and their deliveries. Jobs that ended before are not announced."""

import sqlalchemy as sa
from alembic import op

revision, down_revision = "0005", "0004"
LOSES = "which webhooks and notifications were sent, and those that are still to be sent"
DROPS = ("deliveries", "endpoints")


def upgrade() -> None:
    op.add_column("jobs", sa.Column("announced_end", sa.DateTime))
    op.execute("UPDATE jobs SET announced_end = finished_at")
    op.create_table(
        "endpoints",
        sa.Column("name", sa.String(80), primary_key=True),
        sa.Column("kind", sa.String(10), nullable=False),
        sa.Column("events", sa.JSON, nullable=False),
        sa.Column("seen_at", sa.DateTime, nullable=False),
    )
    op.create_table(
        "deliveries",
        sa.Column("id", sa.String(40), primary_key=True),
        sa.Column("endpoint", sa.String(80), nullable=False),
        sa.Column("kind", sa.String(10), nullable=False),
        sa.Column("event_id", sa.String(40), nullable=False),
        sa.Column("type", sa.String(40), nullable=False),
        sa.Column("job_id", sa.String(40), nullable=False, index=True),
        sa.Column("state", sa.String(10), nullable=False),
        sa.Column("created_at", sa.DateTime, nullable=False, index=True),
        sa.Column("due_at", sa.DateTime, index=True),
        sa.Column("began_at", sa.DateTime, nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("last_status", sa.Integer),
        sa.Column("last_error", sa.String),
        sa.Column("ended_at", sa.DateTime),
        sa.Column("lease_owner", sa.String(80)),
        sa.Column("lease_expires_at", sa.DateTime),
    )


def downgrade() -> None:
    for table in DROPS:
        op.drop_table(table)
    op.drop_column("jobs", "announced_end")
