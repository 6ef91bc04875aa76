"""The command download: a job's tuned weights in a folder."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tuneport.cli.views import output
from tuneport.digests import LIST

Json = output.Json


def download_command(
    job: Annotated[str, typer.Argument(metavar="JOB", help="A job's id, or the beginning of it.", show_default=False)],
    folder: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FOLDER", help="A new or empty folder. Default: the job's id."),
    ] = None,
    merged: Annotated[bool, typer.Option("--merged", help="The whole model instead of the adapter.")] = False,
    checkpoint: Annotated[
        int | None, typer.Option(metavar="STEP", min=1, help="The weights as they were after that step.")
    ] = None,
    backend: Annotated[
        str | None, typer.Option("--backend", "-b", help="Download by the backend's own job id, for any job there.")
    ] = None,
    push: Annotated[
        str | None,
        typer.Option("--push-to-hub", metavar="OWNER/NAME", help="Also push them to the model hub (needs HF_TOKEN)."),
    ] = None,
    public: Annotated[bool, typer.Option("--public", help="Make a new repository public.")] = False,
    json_: Json = False,
) -> None:
    """Download the tuned weights into a folder. Run it again after an interruption to go on."""
    from tuneport.lifecycle.hub import check_job_push, push_folder_to_hub
    from tuneport.lifecycle.service import JobService

    with JobService() as workspace:
        if push is not None:
            check_job_push(push, workspace.settings)
        row = None if backend is not None else workspace.job(job)
        job, name = (row.id, row.backend) if row is not None else (job, str(backend))
        target = folder or Path(job + ("-merged" if merged else "") + (f"-{checkpoint}" if checkpoint else ""))
        output.set_interrupt_message(f"stopped; the same command continues the download to {target}", job=job)
        output.print_note(f"fetching the weights of {job} from {name} ...")
        if row is not None:
            path = workspace.download(row.id, target, merged=merged, checkpoint=checkpoint)
        else:
            remote_id = job if checkpoint is None else f"{job}:{checkpoint}"
            path = workspace.backend(name).download(remote_id, target, merged=merged)
        if name == "local" and not (path / LIST).is_file():
            output.print_note("the weights have no digests (an earlier version trained them): not verified")
        url = None
        if push is not None:
            output.print_note(f"pushing {path} to {push} ...")
            url = push_folder_to_hub(path, push, workspace.settings, private=not public)
        size = sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
    if output.as_json:
        facts = {"job": job, "backend": name, "folder": str(path), "bytes": size, "merged": merged, "pushed": url}
        output.print_json_document(facts)
    else:
        if url is not None:
            output.print_line(f"pushed: {url}")
        output.print_line(f"{path} ({output.size(size)})")
        output.print_line(f"ask it: tuneport chat {path} --backend local")
