"""Due times of jobs, projects of tuned models, requested actions, files to delete and terms shown."""

import sqlalchemy as sa
from alembic import op

revision, down_revision = "0002", "0001"
LOSES = "due times, requests to pause, resume and delete, which files and models were deleted, terms shown"
DROPS = ("shown_terms",)
UNFINISHED = ("preparing", "submitting", "validating", "queued", "running", "finalizing", "pausing", "paused",
              "cancelling")  # fmt: skip


def _columns() -> dict[str, list[sa.Column]]:
    return {
        "jobs": [
            sa.Column("due_at", sa.DateTime),
            sa.Column("waits_since", sa.DateTime),
            sa.Column("tuned_model", sa.String),
            sa.Column("wish", sa.String(10)),
            sa.Column("delete_files", sa.Boolean, nullable=False, server_default=sa.false()),
            sa.Column("delete_requested_at", sa.DateTime),
            sa.Column("deleted_at", sa.DateTime),
            sa.Column("events_due", sa.Boolean, nullable=False, server_default=sa.false()),
        ],
        "remote_files": [sa.Column("deleting_at", sa.DateTime), sa.Column("deleted_at", sa.DateTime)],
    }


def upgrade() -> None:
    for table, columns in _columns().items():
        for column in columns:
            op.add_column(table, column)
    op.create_index("ix_jobs_due_at", "jobs", ["due_at"])
    op.create_index("ix_jobs_tuned_model", "jobs", ["tuned_model"])
    op.create_index("remote_files_by_id", "remote_files", ["remote_id"])
    op.create_table(
        "shown_terms",
        sa.Column("subject", sa.String(200), primary_key=True),
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("shown_at", sa.DateTime, nullable=False),
    )
    jobs = sa.table("jobs", sa.column("id"), sa.column("status"), sa.column("state", sa.JSON),
                    sa.column("created_at"), sa.column("due_at"), sa.column("tuned_model"))  # fmt: skip
    connection = op.get_bind()
    connection.execute(jobs.update().where(jobs.c.status.in_(UNFINISHED)).values(due_at=jobs.c.created_at))
    succeeded = sa.select(jobs.c.id, jobs.c.state).where(jobs.c.status == "succeeded")
    named = [
        {"job": job_id, "name": state["tuned_model"]}
        for job_id, state in connection.execute(succeeded).all()
        if state and state.get("tuned_model")
    ]
    if named:
        one = jobs.update().where(jobs.c.id == sa.bindparam("job")).values(tuned_model=sa.bindparam("name"))
        connection.execute(one, named)


def downgrade() -> None:
    op.drop_table("shown_terms")
    op.drop_index("remote_files_by_id", "remote_files")
    op.drop_index("ix_jobs_tuned_model", "jobs")
    op.drop_index("ix_jobs_due_at", "jobs")
    for table, columns in _columns().items():
        for column in columns:
            op.drop_column(table, column.name)
