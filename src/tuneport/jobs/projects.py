"""What the store shows: of a project whatever belongs to it, and all of it to whoever works on this machine.

It is asked wherever somebody names a row or lists rows. What the program itself keeps in order (leases, contents that
several files share, the month's budget) goes over all projects.
"""

from __future__ import annotations

import hashlib
from typing import TypeVar

from sqlalchemy import ColumnElement, true

from tuneport.jobs.asking import DEFAULT_PROJECT, asking, own_project
from tuneport.jobs.tables import OfProject

Row = TypeVar("Row", bound=OfProject)


def visible(table: type[OfProject]) -> ColumnElement[bool]:
    project = asking().project
    return true() if project is None else table.project == project


def if_visible(row: Row | None) -> Row | None:
    """The row, or None where the asker is not to know of it."""
    project = asking().project
    return row if row is not None and (project is None or row.project == project) else None


def key_of(idempotency_key: str) -> str:
    """What is stored of a key, which is unique in the asker's project only."""
    project = own_project()
    if project == DEFAULT_PROJECT:
        return idempotency_key
    return hashlib.sha256(f"{project}\n{idempotency_key}".encode()).hexdigest()
