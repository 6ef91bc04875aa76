"""Starts what was planned, each job once, however often the process is killed and run again.

The chain: our row in the store exists before anything is sent, and bears the old job's id; whoever runs the migration
again finds it there and goes on with it. From the row on, the worker keeps its own promise (see `jobs/worker.py`).
"""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager

from tuneport.data.writing import make_folder
from tuneport.errors import ConfigError
from tuneport.jobs.service import Workspace
from tuneport.jobs.tables import JobRow
from tuneport.workflows.migration.folder import Move, SavedFolder
from tuneport.workflows.migration.plan import JobPlan


def start(
    workspace: Workspace,
    folder: SavedFolder,
    plan: JobPlan,
    *,
    allow_personal_data: bool = False,
) -> JobRow:
    """Write the job's row, unless an earlier run did. Nothing is sent: `Workspace.drive` does that.

    Only within `alone`: nobody else may look for the row and write it at the same time.
    """
    row = plan.row
    if row is None:
        if plan.spec is None or plan.problems:
            raise ConfigError(f"{plan.job.id} cannot be moved: {'; '.join(plan.problems) or 'it has no plan'}")
        row = workspace.submit(plan.spec, backend=plan.backend, allow_personal_data=allow_personal_data)
        plan.row = row
    folder.add_move(Move(job=plan.job.id, backend=plan.backend, row=row.id, home=str(workspace.settings.home)))
    return row


@contextmanager
def alone(workspace: Workspace) -> Iterator[None]:
    """Keep other migrations of this store out until the end of the block. ConfigError where one is at it."""
    home = workspace.settings.home
    make_folder(home)
    with (home / "migrate.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ConfigError("another `tuneport migrate` is starting jobs; wait for it to end") from error
        yield
