"""cancel, pause, resume, delete, checkpoints: what one wants of a job, the same for every backend."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from tuneport.cli import output
from tuneport.cli.jobs import JobId

if TYPE_CHECKING:
    from tuneport.jobs.tables import JobRow

Json = output.Json


def register(app: typer.Typer) -> None:
    for command in (cancel, pause, resume, delete, checkpoints):
        app.command()(command)


def cancel(job: JobId, json_: Json = False) -> None:
    """Stop a job. One that has ended is left as it is."""
    from tuneport.jobs.service import Workspace

    with Workspace() as workspace:
        _tell(workspace.cancel(job), "was asked to stop")


def pause(job: JobId, json_: Json = False) -> None:
    """Hold a job, where its backend can; [bold]resume[/bold] lets it go on."""
    from tuneport.jobs.service import Workspace

    with Workspace() as workspace:
        _tell(workspace.pause(job), "was asked to pause")


def resume(job: JobId, json_: Json = False) -> None:
    """Let a paused job go on."""
    from tuneport.jobs.service import Workspace

    with Workspace() as workspace:
        _tell(workspace.resume(job), "was asked to go on")


def delete(
    job: JobId,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    json_: Json = False,
) -> None:
    """Delete the tuned model at its backend: it cannot be had back. The job's record stays."""
    from tuneport.jobs.service import Workspace, describe

    with Workspace() as workspace:
        row = workspace.job(job)
        if row.deleted_at is None:
            output.confirm(f"delete {row.tuned_model or 'the model'} of {row.id} at {row.backend} for good?", yes=yes)
        row = workspace.delete(row.id)
    if output.as_json:
        output.document(describe(row))
    else:
        print(f"{row.tuned_model} is deleted at {row.backend}")


def checkpoints(job: JobId, json_: Json = False) -> None:
    """List the checkpoints that the backend keeps of a job."""
    from tuneport.jobs.service import Workspace

    with Workspace() as workspace:
        row = workspace.job(job)
        found = workspace.checkpoints(row.id)
    if output.as_json:
        data = [checkpoint.model_dump(mode="json") for checkpoint in found]
        output.document({"object": "list", "job": row.id, "data": data})
        return
    if not found:
        output.note(f"{row.id} is {row.status} and has no checkpoints")
        return
    columns, right = ("step", "checkpoint", "loss", "validation loss", "model or path"), ("loss", "validation loss")
    table = output.table(*columns, right=("step", *right), cut=("model or path",))
    for checkpoint in found:
        loss = next((value for name, value in checkpoint.metrics.items() if name.endswith("train_loss")), None)
        where = checkpoint.model or (str(checkpoint.path) if checkpoint.path else "-")
        valid = next((value for name, value in checkpoint.metrics.items() if "valid_loss" in name), None)
        name = f"{checkpoint.id} (best)" if checkpoint.best else checkpoint.id
        table.add_row(str(checkpoint.step), name, output.number(loss), output.number(valid), where)
    output.console().print(table)


def _tell(row: JobRow, asked: str) -> None:
    from tuneport.jobs.service import describe

    if output.as_json:
        output.document(describe(row))
    elif row.job_status.terminal or row.status == "paused":
        print(f"{row.id} is {row.status}")
    else:
        print(f"{row.id} {asked} and is {row.status}; `tuneport watch {row.id}` follows it to the end")
