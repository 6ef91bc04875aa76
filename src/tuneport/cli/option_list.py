"""Prints what can be set, to which values and on which backend: `--set help` and `--option help`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict

from tuneport.cli.views import output

HELP = "help"


def print_option_list(flag: str, backend: str | None) -> None:
    """Print what `--set` or `--option` takes, of one backend or of all that train."""
    from tuneport.backends import backend_manifest, training_backend_manifests
    from tuneport.lifecycle.submitting.option_list import list_backend_options, list_hyperparameters
    from tuneport.settings import Settings

    settings = Settings.load()
    manifests = training_backend_manifests(settings) if backend is None else [backend_manifest(backend, settings)]
    names = [manifest.name for manifest in manifests]
    missing: dict[str, str] = {}
    if flag == "--set":
        rows = [row for row in list_hyperparameters(settings, names) if row.backends or backend is None]
    else:
        rows, missing = list_backend_options(settings, names)
    if output.print_if_json({"object": "list", "data": [asdict(row) for row in rows], "not_asked": missing}):
        return
    table = output.console_table("name", "takes", "backend", cut=("takes", "backend"))
    for row in rows:
        table.add_row(row.name, row.takes, ", ".join(row.backends))
    output.console().print(table)
    for name, why in missing.items():
        output.print_note(f"{name}: {why}")
    example = "epochs=3" if flag == "--set" else "NAME=VALUE"
    output.print_note(f"write {flag} {example}, and once more for each further one")


def wants_option_list(given: Iterable[str] | None) -> bool:
    """Return whether `help` stands where NAME=VALUE is expected."""
    return HELP in (given or ())


def option_list_callback(flag: str, backend: str) -> object:
    """Return the callback of an eager option that prints the list and ends the command if `help` is given."""
    import typer

    def callback(given: list[str] | None) -> Sequence[str] | None:
        if wants_option_list(given):
            print_option_list(flag, backend)
            raise typer.Exit
        return given

    return callback
