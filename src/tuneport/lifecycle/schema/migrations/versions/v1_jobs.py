"""Jobs, their files at the provider and their events."""

import sqlalchemy as sa
from alembic import op

revision, down_revision = "0001", None
LOSES, DROPS = "everything", ("jobs", "remote_files", "job_events")


def upgrade() -> None:
    op.create_table("schema_version", sa.Column("version", sa.Integer, primary_key=True))
    op.create_table(
        "jobs",
        sa.Column("id", sa.String(40), primary_key=True),
        sa.Column("token", sa.String(40), nullable=False, unique=True),
        sa.Column("backend", sa.String(80), nullable=False),
        sa.Column("model", sa.String, nullable=False),
        sa.Column("spec", sa.JSON, nullable=False),
        sa.Column("prepared", sa.JSON, nullable=False),
        sa.Column("quote", sa.JSON),
        sa.Column("status", sa.String(20), nullable=False),
        sa.Column("remote_id", sa.String),
        sa.Column("state", sa.JSON),
        sa.Column("error", sa.JSON),
        sa.Column("note", sa.String),
        sa.Column("submit_intent_at", sa.DateTime),
        sa.Column("submit_attempts", sa.Integer, nullable=False),
        sa.Column("absent_since", sa.DateTime),
        sa.Column("cancel_requested_at", sa.DateTime),
        sa.Column("created_at", sa.DateTime, nullable=False),
        sa.Column("updated_at", sa.DateTime, nullable=False),
        sa.Column("finished_at", sa.DateTime),
        sa.Column("polled_at", sa.DateTime),
        sa.Column("lease_owner", sa.String(80)),
        sa.Column("lease_expires_at", sa.DateTime),
    )
    op.create_index("ix_jobs_remote_id", "jobs", ["remote_id"])
    op.create_index("ix_jobs_status", "jobs", ["status"])
    op.create_index("jobs_by_age", "jobs", [sa.text("created_at DESC"), "id"])
    op.create_table(
        "remote_files",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("job_id", sa.String(40), sa.ForeignKey("jobs.id", ondelete="CASCADE"), nullable=False),
        sa.Column("remote_id", sa.String, nullable=False),
        sa.Column("purpose", sa.String(20), nullable=False),
        sa.Column("sha256", sa.String(64), nullable=False),
        sa.Column("filename", sa.String, nullable=False),
        sa.Column("bytes", sa.Integer, nullable=False),
        sa.Column("created_at", sa.DateTime, nullable=False),
        sa.UniqueConstraint("job_id", "purpose"),
    )
    op.create_table(
        "job_events",
        sa.Column("job_id", sa.String(40), sa.ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True),
        sa.Column("position", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("event_id", sa.String, nullable=False),
        sa.Column("origin", sa.String(20), nullable=False),
        sa.Column("created_at", sa.DateTime, nullable=False),
        sa.Column("level", sa.String(10), nullable=False),
        sa.Column("message", sa.String, nullable=False),
        sa.Column("type", sa.String(40), nullable=False),
        sa.Column("data", sa.JSON, nullable=False),
        sa.UniqueConstraint("job_id", "event_id"),
    )


def downgrade() -> None:
    for table in ("job_events", "remote_files", "jobs", "schema_version"):
        op.drop_table(table)
