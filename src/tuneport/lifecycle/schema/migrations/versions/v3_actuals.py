"""Estimates beside actuals. For existing jobs they come from their budget, quote and end."""

from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa
from alembic import op

revision, down_revision = "0003", "0002"
LOSES = "estimates, actual costs and durations, what jobs reserve of the month's budget"
DROPS = ()


def _columns() -> list[sa.Column]:
    return [
        sa.Column("estimate", sa.JSON),
        sa.Column("actual", sa.JSON),
        sa.Column("running_at", sa.DateTime),
        sa.Column("running_by", sa.String(10)),
        sa.Column("budget_usd", sa.Float),
        sa.Column("reserved_usd", sa.Float),
        sa.Column("cost_usd", sa.Float),
        sa.Column("cancel_over_budget", sa.Boolean, nullable=False, server_default=sa.false()),
        sa.Column("usd_per_hour", sa.Float),
        sa.Column("idle_seconds", sa.Float, nullable=False, server_default=sa.text("0")),
        sa.Column("idle_since", sa.DateTime),
    ]


def upgrade() -> None:
    for column in _columns():
        op.add_column("jobs", column)
    op.create_index("ix_jobs_finished_at", "jobs", ["finished_at"])
    json = [sa.column(name, sa.JSON) for name in ("spec", "quote", "state")]
    names = ("id", "status", "remote_id", "backend", "budget_usd", "reserved_usd", "cost_usd")
    plain: list[sa.ColumnClause[Any]] = [sa.column(name) for name in names]
    jobs = sa.table("jobs", *json, *plain)
    columns = (jobs.c.id, jobs.c.spec, jobs.c.quote, jobs.c.status, jobs.c.remote_id, jobs.c.state, jobs.c.backend)
    connection = op.get_bind()
    filled = []
    for job_id, spec, quote, status, remote_id, state, backend in connection.execute(sa.select(*columns)).all():
        quote = quote or {}
        cost = None
        if status in ("succeeded", "failed", "cancelled"):
            cost = 0.0 if remote_id is None else (state or {}).get("cost")
            if backend == "together" and remote_id is not None and not _believable(cost, status, quote):
                cost = None
        most = quote.get("high") if quote.get("high") is not None else quote.get("expected")
        filled.append({"job": job_id, "budget": spec.get("budget"), "most": most, "cost": cost})
    if filled:
        one = jobs.update().where(jobs.c.id == sa.bindparam("job"))
        values = {"budget_usd": "budget", "reserved_usd": "most", "cost_usd": "cost"}
        named = {column: sa.bindparam(name, type_=sa.Float) for column, name in values.items()}
        connection.execute(one.values(**named), filled)


def _believable(cost: float | None, status: str, quote: Mapping[str, Any]) -> bool:
    """Return whether the number that an older version read in Together's `total_price` is a sum: it is for a failed
    job, which is refunded, or within five times its quote. Its unit is undocumented, and it is zero until there is a
    price."""
    if not cost:
        return status == "failed"
    expected = quote.get("expected") or 0.0
    return expected > 0 and 1 / 5 <= cost / expected <= 5


def complete_schema(connection: sa.Connection) -> None:
    """Add the columns that a store of version 3 or later lacks: the first tuneports of versions 3 and 4 made fewer."""
    there = {column["name"] for column in sa.inspect(connection).get_columns("jobs")}
    for column in _columns():
        if column.name not in there:
            op.add_column("jobs", column)


def downgrade() -> None:
    op.drop_index("ix_jobs_finished_at", "jobs")
    for column in _columns():
        op.drop_column("jobs", column.name)
