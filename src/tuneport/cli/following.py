"""Following a job, and the exit code of its end."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from tuneport.cli import output
from tuneport.errors import TuneportError

if TYPE_CHECKING:
    from tuneport.jobs.service import Workspace
    from tuneport.jobs.tables import JobRow


def follow(workspace: Workspace, row: JobRow, *, to_the_end: bool) -> None:
    """Drive the job and show how it goes: a live bar on a terminal, a line for each change elsewhere."""
    from tuneport.cli.curve_view import CurveWatch
    from tuneport.cli.progress import JobProgress

    kept = f"stopped watching; {row.id} is kept: `tuneport watch {row.id}` goes on with it"
    output.say_on_interrupt(kept, job=row.id)
    curve = CurveWatch(workspace)

    def show(row: JobRow) -> None:
        shown.update(row)
        curve.look(row)

    with JobProgress(row) as shown:
        if to_the_end:
            workspace.drive(row.id, on_change=show)
        else:
            # A backend that is down is worth knowing now; the row stays, and `watch` goes on with it.
            workspace.start(row.id, on_change=shown.update)


def finish(workspace: Workspace, row: JobRow) -> None:
    """Print the outcome, and leave with the exit code that belongs to it: 0 only for a job that was not stopped."""
    from tuneport.cli.curve_view import curve_of, last_word, print_verdict
    from tuneport.cli.job_view import stopped_line
    from tuneport.jobs.service import describe

    verdict = last_word(workspace, row) if row.job_status.terminal else None
    state = row.job_state
    made = state.tuned_model if row.status == "succeeded" and state is not None else None
    if output.as_json:
        output.document(describe(row) | curve_of(row, verdict))
    else:
        if made is not None:
            print(f"{row.id} succeeded: {made}")
        if verdict is not None:
            print_verdict(verdict)
    if (stopped := stopped_line(row)) is not None:
        output.note(f"{row.id} was {stopped}")
    error = row.job_error
    if row.status == "failed":
        if not output.as_json:
            output.note(f"error: {row.id} failed: {error.message if error else 'the backend gives no reason'}")
        raise typer.Exit(exit_code(row))
    if row.status == "cancelled":
        if row.stopped_early is None:
            output.note(f"{row.id} was cancelled; submit it again to start anew")
        raise typer.Exit(exit_code(row))
    if output.as_json:
        return
    if made is not None:
        print(f"try it: tuneport chat {row.id}")
    elif row.waits_since is not None:
        print(f"{row.id} {row.note}; `tuneport watch` starts it as soon as there is room")
    else:
        follows = "" if row.job_status.terminal else f"; `tuneport watch {row.id}` follows it"
        print(f"{row.id} is {row.status}{follows}")


def exit_code(row: JobRow) -> int:
    """0 for a job that succeeded or goes on, 3 where the provider's fault ended it, else 2."""
    if row.status == "failed":
        return 2 if row.job_error is not None and row.job_error.fault == "user" else 3
    return 2 if row.status == "cancelled" else 0


def refreshed(workspace: Workspace, job: str) -> tuple[JobRow, str | None]:
    """The row after one look at the backend, or as last known with the reason why it could not be asked."""
    row = workspace.job(job)
    try:
        return workspace.refresh(row.id), None
    except TuneportError as error:
        return workspace.job(row.id), str(error)
