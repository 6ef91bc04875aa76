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
    backend: Annotated[
        str | None, typer.Option("--backend", "-b", help="Then JOB is that backend's own id, of any job there.")
    ] = None,
    json_: Json = False,
) -> None:
    """Fetch the tuned weights into a folder. An interrupted download goes on where it stopped."""
    from tuneport.jobs.service import Workspace

    with Workspace() as workspace:
        if backend is None:
            row = workspace.job(job)
            if row.remote_id is None:
                raise ConfigError(f"{row.id} is {row.status} and has no weights; `tuneport watch {row.id}` follows it")
            job, name, remote_id = row.id, row.backend, row.remote_id
        else:
            name, remote_id = backend, job
        target = folder or Path(job + ("-merged" if merged else "") + (f"-{checkpoint}" if checkpoint else ""))
        if checkpoint is not None:
            remote_id = f"{remote_id}:{checkpoint}"
        output.say_on_interrupt(f"stopped; the same command goes on with the download to {target}", job=job)
        output.note(f"fetching the weights of {job} from {name} ...")
        path = workspace.backend(name).download(remote_id, target, merged=merged)
        size = sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
    if output.as_json:
        output.document({"job": job, "backend": name, "folder": str(path), "bytes": size, "merged": merged})
    else:
        print(f"{path} ({size / 1e6:,.1f} MB)\nask it: tuneport chat {path} --backend local")
