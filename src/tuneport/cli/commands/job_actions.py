"""The commands cancel, pause, resume, delete and checkpoints, the same for every backend."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from tuneport.cli.commands.jobs import JobId
from tuneport.cli.views import output
from tuneport.cli.views.table import Column, CommandTable
from tuneport.formatting import money

if TYPE_CHECKING:
    from tuneport.lifecycle.schema.records import JobRecord

Json = output.Json


def cancel_command(
    job: Annotated[
        str,
        typer.Argument(metavar="JOB", help="A job's id, or the beginning of it; with --backend the provider's own id."),
    ],
    backend: Annotated[
        str | None, typer.Option("--backend", "-b", help="Stop any job of this provider's account by its id there.")
    ] = None,
    json_: Json = False,
) -> None:
    """Stop a job. Does nothing if it has ended."""
    from tuneport.lifecycle.service import JobService

    with JobService() as workspace:
        if backend is None:
            _print_action_outcome(workspace.cancel(job), "was asked to stop")
            return
        state = workspace.cancel_remote(backend, job)
    if not output.print_if_json(state.model_dump(mode="json")):
        output.print_line(f"{job} at {backend} is {state.status}")


def resolve_command(
    job: JobId,
    started: Annotated[
        str | None, typer.Option("--started", metavar="ID", help="It runs at the provider, as the job with this id.")
    ] = None,
    not_started: Annotated[
        bool, typer.Option("--not-started", help="The provider has no such job: start it again, and pay for it.")
    ] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Do so even before tuneport has asked, or if the job looks different.")
    ] = False,
    json_: Json = False,
) -> None:
    """Say whether a job runs at its provider, when the answer to its start was lost.

    Look at the provider's own list of jobs first: tuneport asks only if it cannot tell.
    """
    from tuneport.cli.views.following import follow_job_progress, print_outcome_and_exit
    from tuneport.lifecycle.service import JobService

    with JobService() as workspace:
        row = workspace.resolve(job, started=started, not_started=not_started, force=force)
        if not_started:
            quote = row.job_quote
            price = "at an unknown price" if quote is None or quote.expected is None else f"for {money(quote.expected)}"
            output.print_note(f"{row.id}: starting it again at {row.backend} {price}")
            follow_job_progress(workspace, row, to_the_end=False)
        print_outcome_and_exit(workspace, workspace.job(row.id))


def pause_command(job: JobId, json_: Json = False) -> None:
    """Pause a job, if its backend can; [bold]resume[/bold] continues it."""
    from tuneport.lifecycle.service import JobService

    with JobService() as workspace:
        _print_action_outcome(workspace.pause(job), "was asked to pause")


def resume_command(job: JobId, json_: Json = False) -> None:
    """Continue a paused job."""
    from tuneport.lifecycle.service import JobService

    with JobService() as workspace:
        _print_action_outcome(workspace.resume(job), "was asked to go on")


def delete_command(
    job: JobId,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    json_: Json = False,
) -> None:
    """Delete the tuned model at its backend, for good. The job's record stays."""
    from tuneport.lifecycle.service import JobService, describe_job

    with JobService() as workspace:
        row = workspace.job(job)
        if row.deleted_at is None:
            output.confirm_action(
                f"delete {row.tuned_model or 'the model'} of {row.id} at {row.backend} for good?", yes=yes
            )
        row = workspace.delete(row.id)
    if not output.print_if_json(describe_job(row)):
        output.print_line(f"{row.tuned_model} is deleted at {row.backend}")


def checkpoints_command(job: JobId, wide: output.Wide = False, tsv: output.Tsv = False, json_: Json = False) -> None:
    """List the checkpoints that the backend keeps of a job."""
    from tuneport.lifecycle.service import JobService

    with JobService() as workspace:
        row = workspace.job(job)
        found = workspace.checkpoints(row.id)
    if output.as_json:
        data = [checkpoint.model_dump(mode="json") for checkpoint in found]
        output.print_json_document({"object": "list", "job": row.id, "data": data})
        return
    if not found:
        output.print_note(f"{row.id} is {row.status} and has no checkpoints")
        return
    table = CommandTable(
        (
            Column("step", right=True),
            Column("checkpoint"),
            Column("loss", rank=2, right=True),
            Column("validation loss", rank=1, right=True),
            Column("model or path", wrap=True),
        )
    )
    for checkpoint in found:
        loss = next((value for name, value in checkpoint.metrics.items() if name.endswith("train_loss")), None)
        where = checkpoint.model or (str(checkpoint.path) if checkpoint.path else "-")
        valid = next((value for name, value in checkpoint.metrics.items() if "valid_loss" in name), None)
        name = f"{checkpoint.id} (best)" if checkpoint.best else checkpoint.id
        table.add_row(str(checkpoint.step), name, output.number(loss), output.number(valid), where)
    table.print()


def _print_action_outcome(row: JobRecord, asked: str) -> None:
    from tuneport.cli.views.following import print_duplicate_jobs
    from tuneport.lifecycle.service import describe_job

    if output.print_if_json(describe_job(row)):
        return
    print_duplicate_jobs(row)
    if row.job_status.terminal or row.status == "paused":
        output.print_line(f"{row.id} is {row.status}")
    else:
        output.print_line(f"{row.id} {asked} and is {row.status}; `tuneport watch {row.id}` follows it to the end")
