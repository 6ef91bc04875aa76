"""The gateway: files that its clients upload, of 8 GB and more, and the jobs that they ask for."""

import sqlalchemy as sa
from alembic import op

from tuneport.errors import ConfigError

revision, down_revision = "0004", "0003"
LOSES = "the gateway's ids of files, uploads and tuned models, and requests that are no jobs yet; the jobs stay"
DROPS = ("upload_parts", "uploads", "uploaded_files", "job_requests")


def upgrade() -> None:
    if _sized():
        op.alter_column("remote_files", "bytes", type_=sa.BigInteger)
    op.create_table(
        "uploaded_files",
        sa.Column("id", sa.String(40), primary_key=True),
        sa.Column("sha256", sa.String(64), nullable=False, index=True),
        sa.Column("filename", sa.String, nullable=False),
        sa.Column("purpose", sa.String(30), nullable=False),
        sa.Column("bytes", sa.BigInteger, nullable=False),
        sa.Column("created_at", sa.DateTime, nullable=False, index=True),
        sa.Column("expires_at", sa.DateTime),
    )
    op.create_table(
        "uploads",
        sa.Column("id", sa.String(40), primary_key=True),
        sa.Column("filename", sa.String, nullable=False),
        sa.Column("purpose", sa.String(30), nullable=False),
        sa.Column("bytes", sa.BigInteger, nullable=False),
        sa.Column("status", sa.String(10), nullable=False),
        sa.Column("created_at", sa.DateTime, nullable=False),
        sa.Column("expires_at", sa.DateTime, nullable=False),
        sa.Column("file_seconds", sa.Integer),
        sa.Column("file_id", sa.String(40)),
    )
    op.create_table(
        "upload_parts",
        sa.Column("id", sa.String(40), primary_key=True),
        sa.Column(
            "upload_id", sa.String(40), sa.ForeignKey("uploads.id", ondelete="CASCADE"), nullable=False, index=True
        ),
        sa.Column("sha256", sa.String(64), nullable=False, index=True),
        sa.Column("bytes", sa.BigInteger, nullable=False),
        sa.Column("created_at", sa.DateTime, nullable=False),
    )
    op.create_table(
        "job_requests",
        sa.Column("id", sa.String(40), primary_key=True),
        sa.Column("body", sa.JSON, nullable=False),
        sa.Column("backend", sa.String(80)),
        sa.Column("tuned_model", sa.String, nullable=False, index=True),
        sa.Column("idempotency_key", sa.String(255), unique=True),
        sa.Column("state", sa.String(10), nullable=False, index=True),
        sa.Column("error", sa.JSON),
        sa.Column("created_at", sa.DateTime, nullable=False),
        sa.Column("finished_at", sa.DateTime),
        sa.Column("lease_owner", sa.String(80)),
        sa.Column("lease_expires_at", sa.DateTime),
        sa.Column("results_file", sa.String(40)),
        sa.Column("results_at", sa.DateTime),
    )
    op.create_index("job_requests_by_age", "job_requests", [sa.text("created_at DESC"), "id"])


def complete_schema(connection: sa.Connection) -> None:
    """Give the sizes of files the type that the first tuneports of version 4 did not give them in a new store."""
    columns = {column["name"]: column["type"] for column in sa.inspect(connection).get_columns("remote_files")}
    if _sized() and not isinstance(columns["bytes"], sa.BigInteger):
        op.alter_column("remote_files", "bytes", type_=sa.BigInteger)


def downgrade() -> None:
    for table in DROPS:
        op.drop_table(table)
    if _sized():
        large = op.get_bind().scalar(sa.text("SELECT max(bytes) FROM remote_files"))
        if large is not None and large >= 2**31:
            raise ConfigError(
                f"version 3 cannot note a file of {large:,} bytes, and one of the jobs has such a file; stay at 4"
            )
        op.alter_column("remote_files", "bytes", type_=sa.Integer)


def _sized() -> bool:
    """Return whether the database's integers have a size. SQLite's have none, and it changes no column's type."""
    return op.get_bind().dialect.name != "sqlite"
