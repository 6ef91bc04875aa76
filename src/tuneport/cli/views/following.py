"""The view of a job that is followed, and the exit code of its end."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from tuneport.cli.views import output
from tuneport.errors import TuneportError

if TYPE_CHECKING:
    from tuneport.lifecycle.schema.records import JobRecord
    from tuneport.lifecycle.service import Workspace


def follow(workspace: Workspace, row: JobRecord, *, to_the_end: bool) -> None:
    """Drive the job and show its progress: a live bar on a terminal, a line for each change elsewhere."""
    from tuneport.cli.views.curve import CurveWatch
    from tuneport.cli.views.progress import JobProgress

    kept = f"stopped watching; {row.id} is kept: `tuneport watch {row.id}` goes on with it"
    output.say_on_interrupt(kept, job=row.id)
    curve = CurveWatch(workspace)

    def show(row: JobRecord) -> None:
        shown.update(row)
        curve.look(row)

    with JobProgress() as shown:
        if to_the_end:
            workspace.drive(row.id, on_change=show)
        else:
            # Report a backend that is down now; the row stays, and `watch` goes on with it.
            workspace.start(row.id, on_change=shown.update)


def finish(workspace: Workspace, row: JobRecord) -> None:
    """Print the outcome, and exit with its code: 0 only for a job that was not stopped."""
    from tuneport.cli.views.curve import curve_of, last_word, print_verdict
    from tuneport.cli.views.job import stopped_line
    from tuneport.lifecycle.service import describe_job

    verdict = last_word(workspace, row) if row.job_status.terminal else None
    unanswered = row.submit_intent_at is not None and row.remote_id is None and not row.job_status.terminal
    state = row.job_state
    made = state.tuned_model if row.status == "succeeded" and state is not None else None
    if not output.documented(describe_job(row) | curve_of(row, verdict)):
        if made is not None:
            output.say(f"{row.id} succeeded: {made}")
        if verdict is not None:
            print_verdict(verdict)
    if (stopped := stopped_line(row)) is not None:
        output.note(f"{row.id} was {stopped}")
    tell_duplicates(row)
    error = row.job_error
    if row.status == "failed":
        if not output.as_json:
            output.note(f"error: {row.id} failed: {error.message if error else 'the backend gives no reason'}")
        raise typer.Exit(exit_code(row))
    if row.status == "cancelled":
        if row.stopped_early is None:
            output.note(f"{row.id} was cancelled; submit it again to start anew")
        raise typer.Exit(exit_code(row))
    if unanswered:
        output.note(f"{row.id} may not run: {row.note}; `tuneport watch {row.id}` keeps checking")
        raise typer.Exit(3)
    if output.as_json:
        return
    if made is not None:
        output.say(f"try it: tuneport chat {row.id}")
    elif row.waits_since is not None:
        output.say(f"{row.id} {row.note}; `tuneport watch` starts it as soon as there is room")
    else:
        follows = "" if row.job_status.terminal else f"; `tuneport watch {row.id}` follows it"
        output.say(f"{row.id} is {row.status}{follows}")


def tell_duplicates(row: JobRecord) -> None:
    """Print which further jobs of the provider carry the row's token, and how each is stopped."""
    for duplicate in row.job_submission.duplicates:
        output.note(
            f"warning: {row.backend} has another job for {row.id}: {duplicate}; stop it: "
            f"tuneport cancel {duplicate} --backend {row.backend}"
        )


def exit_code(row: JobRecord) -> int:
    """Return 0 for a job that succeeded or goes on, 3 if the provider failed or a person must answer, else 2."""
    if row.job_submission.question is not None and row.remote_id is None and not row.job_status.terminal:
        return 3
    if row.status == "failed":
        return 2 if row.job_error is not None and row.job_error.fault == "user" else 3
    return 2 if row.status == "cancelled" else 0


def refreshed(workspace: Workspace, job: str) -> tuple[JobRecord, str | None]:
    """Return the row after one poll, or the last known row with the reason why the backend could not be asked."""
    row = workspace.job(job)
    try:
        return workspace.refresh(row.id), None
    except TuneportError as error:
        return workspace.job(row.id), str(error)
