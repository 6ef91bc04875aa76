"""Settings that a job trains with on its backend, and its steps, in its estimate; and new fields of its spec.

Nothing is added to the tables. An earlier tuneport refuses keys that it does not know, so they are taken out for it.
"""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision, down_revision = "0011", "0010"
LOSES = "what each job trains with on its backend, its expected steps, and how its data was to be read"
DROPS: tuple[str, ...] = ()

_LATER = (
    "provider_defaults", "format", "system", "template", "ignored_columns", "keep_unliked", "inline_images",
)  # fmt: skip
_JOBS = sa.table("jobs", sa.column("id", sa.String), sa.column("spec", sa.JSON), sa.column("estimate", sa.JSON))


def upgrade() -> None:
    """Leave all as it is: rows of earlier versions have no settings, and are sent as they were."""


def downgrade() -> None:
    connection = op.get_bind()
    for row in connection.execute(sa.select(_JOBS)).all():
        spec, estimate = _without(row.spec, *_LATER), row.estimate
        if "packing" in (spec.get("hyperparameters") or {}):
            spec["hyperparameters"] = _without(spec["hyperparameters"], "packing")
        if estimate is not None:
            estimate = _without(estimate, "training")
        if (spec, estimate) != (row.spec, row.estimate):
            changed = {"spec": spec} | ({} if estimate is None else {"estimate": estimate})
            connection.execute(sa.update(_JOBS).where(_JOBS.c.id == row.id).values(**changed))


def _without(document: dict[str, Any], *names: str) -> dict[str, Any]:
    return {key: value for key, value in document.items() if key not in names}
