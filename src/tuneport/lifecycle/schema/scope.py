"""The scope of a store: the rows of one project, or all of them for a user of this machine. There is no default.

Every query that names or lists rows is limited by it. The program's own housekeeping (leases, contents that several
files share, the month's budget) covers all projects.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from tuneport.errors import TuneportError

DEFAULT_PROJECT = "default"
"""The project of users of this machine, and of all rows from before there were projects."""


class NoScopeError(TuneportError):
    """Rows of a project were requested without a scope. This is a bug of tuneport's; nothing was read."""


@dataclass(frozen=True)
class ProjectScope:
    """`project` None: all of them."""

    project: str | None

    @property
    def own_project(self) -> str:
        """Return the project to which new rows belong."""
        return self.project or DEFAULT_PROJECT

    def stored_key(self, idempotency_key: str) -> str:
        """Return what is stored of a key, which is unique in its project only."""
        if self.own_project == DEFAULT_PROJECT:
            return idempotency_key
        return hashlib.sha256(f"{self.own_project}\n{idempotency_key}".encode()).hexdigest()


def refuse_missing_project() -> str:
    """Refuse a row without a project, as the column's default: it is never put into another one's."""
    raise NoScopeError("a row was written without a project")
