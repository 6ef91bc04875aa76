"""download: a job's tuned weights in a folder."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tuneport.cli import output
from tuneport.errors import ConfigError

Json = output.Json


def register(app: typer.Typer) -> None:
    app.command()(download)


def download(
    job: Annotated[str, typer.Argument(metavar="JOB", help="A job's id, or the beginning of it.", show_default=False)],
    folder: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FOLDER", help="New or empty. Default: named by the job.")
    ] = None,
    merged: Annotated[bool, typer.Option("--merged", help="The whole model instead of the adapter.")] = False,
    checkpoint: Annotated[
        int | None, typer.Option(metavar="STEP", min=1, help="The weights as they were after that step.")
    ] = None,
    json_: Json = False,
) -> None:
    """Fetch the tuned weights into a folder. An interrupted download goes on where it stopped."""
    from tuneport.jobs.service import Workspace

    with Workspace() as workspace:
        row = workspace.job(job)
        if row.remote_id is None:
            raise ConfigError(f"{row.id} is {row.status} and has no weights; `tuneport watch {row.id}` follows it")
        target = folder or Path(row.id + ("-merged" if merged else "") + (f"-{checkpoint}" if checkpoint else ""))
        remote_id = row.remote_id if checkpoint is None else f"{row.remote_id}:{checkpoint}"
        again = f"stopped; `tuneport download {row.id} -o {target}` goes on with it"
        output.say_on_interrupt(again, job=row.id)
        output.note(f"fetching the weights of {row.id} from {row.backend} ...")
        path = workspace.backend(row.backend).download(remote_id, target, merged=merged)
        size = sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
    if output.as_json:
        output.document({"job": row.id, "backend": row.backend, "folder": str(path), "bytes": size, "merged": merged})
    else:
        print(f"{path} ({size / 1e6:,.1f} MB)\nask it: tuneport chat {path} --backend local")
