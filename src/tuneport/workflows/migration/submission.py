"""Starts planned moves, each job once, however often the process is killed and run again.

The chain: our row in the store exists before anything is sent, and bears the old job's id; a repeated migration finds
it there and continues it. From the row on, the worker keeps its own promise (`lifecycle/worker/worker.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tuneport import private
from tuneport.errors import ConfigError
from tuneport.files import hold_file_lock
from tuneport.lifecycle.proposing.terms import BindingTerm
from tuneport.lifecycle.schema.records import JobRecord
from tuneport.lifecycle.service import JobService
from tuneport.workflows.migration.folder import SavedAccountFolder, StartedMove
from tuneport.workflows.migration.plan import MigrationMovePlan


def start_migration_move(
    workspace: JobService,
    folder: SavedAccountFolder,
    plan: MigrationMovePlan,
    *,
    allow_personal_data: bool = False,
    show_terms: Callable[[list[BindingTerm]], None] | None = None,
) -> JobRecord:
    """Write the job's row, unless an earlier run did. Nothing is sent: `JobService.drive` does that.

    Call it only within `lock_migration`: no other process may look for the row and write it at the same time.
    """
    row = plan.row
    if row is None:
        if plan.spec is None or plan.problems:
            raise ConfigError(f"{plan.job.id} cannot be moved: {'; '.join(plan.problems) or 'it has no plan'}")
        row = workspace.submit(
            plan.spec, backend=plan.backend, allow_personal_data=allow_personal_data, show_terms=show_terms
        )
        plan.row = row
    folder.add_move(StartedMove(job=plan.job.id, backend=plan.backend, row=row.id, home=str(workspace.settings.home)))
    return row


@contextmanager
def lock_migration(workspace: JobService) -> Iterator[None]:
    """Keep other migrations of this store out until the end of the block. Raises ConfigError if one is at it."""
    home = workspace.settings.home
    private.make_private_folder(home)
    private.make_private_file(home / "migrate.lock")  # in a home that a group shares, all of it migrate
    with hold_file_lock(home / "migrate.lock", wait=False) as mine:
        if not mine:
            raise ConfigError("another `tuneport migrate` is starting jobs; wait for it to end")
        yield
