"""Access to the gateway: tokens, projects, browsers' sessions, the audit log."""

import sqlalchemy as sa
from alembic import op

revision, down_revision = "0006", "0005"
LOSES = "tokens, browsers' sessions and the audit log, and which project a file, a request or a job is of"
DROPS = ("browser_sessions", "tokens", "audit_log")
_LIVE = sa.text("revoked_at IS NULL")
_OF_PROJECTS = ("jobs", "uploaded_files", "uploads", "job_requests")
_BY_PROJECT = ("jobs", "uploaded_files", "job_requests")


def upgrade() -> None:
    for table in _OF_PROJECTS:
        op.add_column(table, sa.Column("project", sa.String(64), nullable=False, server_default="default"))
    for table in _BY_PROJECT:
        op.create_index(f"{table}_by_project", table, ["project", sa.text("created_at DESC"), "id"])
    op.create_table(
        "tokens",
        sa.Column("id", sa.String(12), primary_key=True),
        sa.Column("name", sa.String(64), nullable=False),
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("scope", sa.String(10), nullable=False),
        sa.Column("project", sa.String(64)),
        sa.Column("created_at", sa.DateTime, nullable=False),
        sa.Column("expires_at", sa.DateTime),
        sa.Column("revoked_at", sa.DateTime),
        sa.Column("last_used_at", sa.DateTime),
    )
    op.create_index("tokens_by_name", "tokens", ["name"], unique=True, sqlite_where=_LIVE, postgresql_where=_LIVE)
    op.create_table(
        "browser_sessions",
        sa.Column("digest", sa.String(64), primary_key=True),
        sa.Column("token_id", sa.String(12), sa.ForeignKey("tokens.id", ondelete="CASCADE"), nullable=False),
        sa.Column("created_at", sa.DateTime, nullable=False),
        sa.Column("expires_at", sa.DateTime, nullable=False, index=True),
    )
    op.create_table(
        "audit_log",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("created_at", sa.DateTime, nullable=False, index=True),
        sa.Column("project", sa.String(64), nullable=False),
        sa.Column("name", sa.String(64), nullable=False),
        sa.Column("token_id", sa.String(12)),
        sa.Column("address", sa.String(64)),
        sa.Column("request_id", sa.String(40)),
        sa.Column("action", sa.String(40), nullable=False),
        sa.Column("subject", sa.String(200), nullable=False),
        sa.Column("usd", sa.Float),
    )


def downgrade() -> None:
    for table in DROPS:
        op.drop_table(table)
    for table in _BY_PROJECT:
        op.drop_index(f"{table}_by_project", table)
    for table in _OF_PROJECTS:
        op.drop_column(table, "project")
