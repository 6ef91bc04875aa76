"""The view of a job that is followed, and the exit code of its end."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import typer

from tuneport.cli.views import output
from tuneport.errors import TuneportError

if TYPE_CHECKING:
    from tuneport.lifecycle.schema.records import JobRecord
    from tuneport.lifecycle.service import JobService


def follow_job_progress(workspace: JobService, row: JobRecord, *, to_the_end: bool) -> None:
    """Drive the job and show its progress: a live bar on a terminal, a line for each change elsewhere."""
    from tuneport.cli.views.curve import CurveVerdictPrinter
    from tuneport.cli.views.live.progress import JobProgress

    kept = f"stopped watching; {row.id} is kept: `tuneport watch {row.id}` continues it"
    output.set_interrupt_message(kept, job=row.id)
    curve = CurveVerdictPrinter(workspace)

    def show(row: JobRecord) -> None:
        shown.update(row)
        curve.print_if_changed(row)

    with JobProgress() as shown:
        if to_the_end:
            workspace.drive(row.id, on_change=show)
        else:
            # Report a backend that is down now; the row stays, and `watch` goes on with it.
            workspace.start(row.id, on_change=shown.update)


def print_outcome_and_exit(workspace: JobService, row: JobRecord, *, proposal: Mapping[str, Any] | None = None) -> None:
    """Print the outcome, and exit with its code: 0 only for a job that was not stopped. `proposal`: the document of
    what was agreed to, for `--json`."""
    from tuneport.cli.views.curve import current_curve_verdict, curve_verdict_json_view, print_curve_verdict
    from tuneport.cli.views.job import stopped_line
    from tuneport.lifecycle.service import describe_job

    verdict = current_curve_verdict(workspace, row) if row.job_status.terminal else None
    unanswered = row.submit_intent_at is not None and row.remote_id is None and not row.job_status.terminal
    state = row.job_state
    made = state.tuned_model if row.status == "succeeded" and state is not None else None
    agreed = {} if proposal is None else {"proposal": proposal}
    if not output.print_if_json(describe_job(row) | curve_verdict_json_view(row, verdict) | agreed):
        if made is not None:
            output.print_line(f"{row.id} succeeded: {made}")
        if verdict is not None:
            print_curve_verdict(verdict)
    if (stopped := stopped_line(row)) is not None:
        output.print_note(f"{row.id} was {stopped}")
    print_duplicate_jobs(row)
    error = row.job_error
    if row.status == "failed":
        if not output.as_json:
            output.print_note(f"error: {row.id} failed: {error.message if error else 'the backend gives no reason'}")
        raise typer.Exit(job_exit_code(row))
    if row.status == "cancelled":
        if row.stopped_early is None:
            output.print_note(f"{row.id} was cancelled; submit it again to train it")
        raise typer.Exit(job_exit_code(row))
    if unanswered:
        output.print_note(f"{row.id} may not run: {row.note}; `tuneport watch {row.id}` keeps checking")
        raise typer.Exit(3)
    if output.as_json:
        return
    if made is not None:
        output.print_line(f"try it: tuneport chat {row.id}")
    elif row.waits_since is not None:
        output.print_line(f"{row.id} {row.note}; `tuneport watch` starts it as soon as there is room")
    else:
        follows = "" if row.job_status.terminal else f"; `tuneport watch {row.id}` follows it"
        output.print_line(f"{row.id} is {row.status}{follows}")


def print_duplicate_jobs(row: JobRecord) -> None:
    """Print which further jobs of the provider carry the row's token, and how each is stopped."""
    for duplicate in row.job_submission.duplicates:
        output.print_note(
            f"warning: {row.backend} has another job for {row.id}: {duplicate}; stop it: "
            f"tuneport cancel {duplicate} --backend {row.backend}"
        )


def job_exit_code(row: JobRecord) -> int:
    """Return 0 for a job that succeeded or goes on, 3 if the provider failed or a person must answer, else 2."""
    if row.job_submission.question is not None and row.remote_id is None and not row.job_status.terminal:
        return 3
    if row.status == "failed":
        return 2 if row.job_error is not None and row.job_error.fault == "user" else 3
    return 2 if row.status == "cancelled" else 0


def poll_or_print_last_known(workspace: JobService, job: str) -> tuple[JobRecord, str | None]:
    """Return the row after one poll, or the last known row with the reason why the backend could not be asked."""
    row = workspace.job(job)
    try:
        return workspace.refresh(row.id), None
    except TuneportError as error:
        return workspace.job(row.id), str(error)
