"""download: a job's tuned weights in a folder."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tuneport.cli import output

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
    push: Annotated[
        str | None,
        typer.Option("--push-to-hub", metavar="OWNER/NAME", help="Put them on the model hub, too (HF_TOKEN)."),
    ] = None,
    public: Annotated[bool, typer.Option("--public", help="Where the repository is made: not a private one.")] = False,
    json_: Json = False,
) -> None:
    """Fetch the tuned weights into a folder. An interrupted download goes on where it stopped."""
    from tuneport.jobs.hub import check_repository, push_folder
    from tuneport.jobs.service import Workspace

    with Workspace() as workspace:
        if push is not None:
            check_repository(push, workspace.settings)
        row = None if backend is not None else workspace.job(job)
        job, name = (row.id, row.backend) if row is not None else (job, str(backend))
        target = folder or Path(job + ("-merged" if merged else "") + (f"-{checkpoint}" if checkpoint else ""))
        output.say_on_interrupt(f"stopped; the same command goes on with the download to {target}", job=job)
        output.note(f"fetching the weights of {job} from {name} ...")
        if row is not None:
            path = workspace.download(row.id, target, merged=merged, checkpoint=checkpoint)
        else:
            remote_id = job if checkpoint is None else f"{job}:{checkpoint}"
            path = workspace.backend(name).download(remote_id, target, merged=merged)
        url = None
        if push is not None:
            output.note(f"pushing {path} to {push} ...")
            url = push_folder(path, push, workspace.settings, private=not public)
        size = sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
    if output.as_json:
        facts = {"job": job, "backend": name, "folder": str(path), "bytes": size, "merged": merged, "pushed": url}
        output.document(facts)
    else:
        if url is not None:
            print(f"pushed: {url}")
        print(f"{path} ({size / 1e6:,.1f} MB)\nask it: tuneport chat {path} --backend local")
