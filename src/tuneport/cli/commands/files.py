"""The command files: list the files at the providers and delete unused ones."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from tuneport.cli.views import output
from tuneport.cli.views.table import Column, CommandTable
from tuneport.errors import ConfigError

if TYPE_CHECKING:
    from tuneport.lifecycle.service import JobService
    from tuneport.lifecycle.worker.remote_files import JobRemoteFileEntry

Json = output.Json
_SHORT_ID = 12


def files_command(
    backend: Annotated[str | None, typer.Option("--backend", "-b", help="Backend to list. Default: all.")] = None,
    delete: Annotated[str | None, typer.Option("--delete", metavar="ID", help="Delete this file.")] = None,
    unused: Annotated[
        bool, typer.Option("--unused", help="Delete files that tuneport uploaded and no unfinished job uses.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    wide: output.Wide = False,
    tsv: output.Tsv = False,
    json_: Json = False,
) -> None:
    """List the files at the providers, with the jobs that use them; or delete some."""
    from tuneport.lifecycle.service import JobService

    if delete is not None and unused:
        raise ConfigError("--delete names one file and --unused means many; give one of them")
    with JobService() as workspace:
        entries, trouble = workspace.files(backend=backend)
        for name, message in trouble.items():
            output.print_note(f"{name}: could not be asked, showing the last known state: {message}")
        if delete is not None or unused:
            chosen = _find_named_file(entries, delete) if delete is not None else _find_unused_files(entries)
            _delete(workspace, chosen, yes=yes)
            return
    if output.print_if_json({"object": "list", "data": [entry.as_dict() for entry in entries], "trouble": trouble}):
        return
    _print(entries)


def _find_named_file(entries: list[JobRemoteFileEntry], file_id: str) -> list[JobRemoteFileEntry]:
    there = [entry for entry in entries if entry.where != "gone"]
    found = [entry for entry in there if entry.id == file_id] or [
        entry for entry in there if _short_id(entry) == file_id
    ]
    if len(found) > 1:
        raise ConfigError(
            f"{len(found)} files begin with {file_id}; give the whole id, as `tuneport files --wide` does"
        )
    if not found:
        raise ConfigError(f"no file {file_id!r} at the providers; `tuneport files` lists them")
    return found


def _find_unused_files(entries: list[JobRemoteFileEntry]) -> list[JobRemoteFileEntry]:
    return [entry for entry in entries if entry.ours and entry.where != "gone" and not entry.in_use]


def _delete(workspace: JobService, chosen: list[JobRemoteFileEntry], *, yes: bool) -> None:
    """Delete the files one by one. A file that is in use after all is reported and kept."""
    if chosen:
        for entry in chosen:
            whose = "" if entry.ours else ", not uploaded by tuneport"
            output.print_note(f"{entry.backend}: {entry.id}, {entry.filename}, {output.size(entry.bytes)}{whose}")
        output.confirm_action(f"delete {len(chosen)} file{'s' if len(chosen) > 1 else ''} for good?", yes=yes)
    deleted: list[dict[str, Any]] = []
    kept: list[dict[str, Any]] = []
    for entry in chosen:
        try:
            workspace.remote_files.delete_file(entry.backend, entry.id, entry.filename)
        except ConfigError as error:
            if len(chosen) == 1:
                raise
            output.print_note(str(error))
            kept.append({"id": entry.id, "backend": entry.backend, "because": str(error)})
        else:
            deleted.append({"id": entry.id, "backend": entry.backend})
    if not output.print_if_json({"object": "list", "deleted": deleted, "kept": kept}):
        output.print_line(f"{len(deleted)} deleted" + (f", {len(kept)} kept" if kept else ""))


def _print(entries: list[JobRemoteFileEntry]) -> None:
    if not entries:
        output.print_note("no files at the providers, as far as they could be asked")
        return
    table = CommandTable(
        (
            Column("backend"),
            Column("file"),
            Column("size", rank=2, right=True),
            Column("age", rank=3),
            Column("used by", rank=1),
        )
    )
    for entry in entries:
        age = "-" if entry.created_at is None else output.ago(entry.created_at)
        name = entry.id if table.whole else _short_id(entry)
        table.add_row(entry.backend, name, output.size(entry.bytes), age, _users(entry))
    table.print()


def _short_id(entry: JobRemoteFileEntry) -> str:
    """Return the id, of a file of this machine the beginning of its name; --delete takes both."""
    folder, _, name = entry.id.rpartition("/")
    return name[:_SHORT_ID] if folder else entry.id


def _users(entry: JobRemoteFileEntry) -> str:
    if entry.where == "gone":
        return f"{len(entry.jobs)} of our jobs; no more there"
    if not entry.jobs:
        return "only there" if entry.ours else "only there, not tuneport's"
    job_id, status = entry.jobs[-1]
    more = f" and {len(entry.jobs) - 1} more" if len(entry.jobs) > 1 else ""
    return f"{job_id} ({status}){more}"
