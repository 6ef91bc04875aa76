"""check, split, convert: the dataset."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tuneport.cli import output
from tuneport.errors import ConfigError

DATA = "A file (.jsonl, .json, .csv, .parquet; .gz, .zst), a folder or hf://owner/name."
OUTPUT = "The file to write: .jsonl, .json, .csv (each also .gz, .zst) or .parquet."


def register(app: typer.Typer) -> None:
    for command in (check, split, convert):
        app.command()(command)


def check(
    dataset: Annotated[Path, typer.Argument(metavar="DATA", help="The training file.", show_default=False)],
    validation: Annotated[Path | None, typer.Option(help="A held-out file; looked at for leaks.")] = None,
    format_: Annotated[str | None, typer.Option("--format", help="Default: found out from the data.")] = None,
    json_: output.Json = False,
) -> None:
    """Judge a dataset before money is spent on it. Exit code 2 when something must be mended."""
    from tuneport.data.checks import check as run

    report = run(dataset, format=format_, validation=validation)
    if output.as_json:
        output.document(report.as_dict())
    else:
        from tuneport.cli.check_report import print_report

        print_report(report)
    if not report.ok:
        raise typer.Exit(2)


def split(
    dataset: Annotated[Path, typer.Argument(metavar="DATA", help="The file to split.", show_default=False)],
    share: Annotated[float, typer.Option(help="How much to hold out; 0.1 to 0.2 is usual.")] = 0.1,
    seed: Annotated[int, typer.Option(help="The same seed draws the same rows.")] = 0,
    out: Annotated[Path, typer.Option("--output", "-o", help="The folder to write into.")] = Path("."),
    format_: Annotated[str | None, typer.Option("--format", help="Default: found out from the data.")] = None,
    json_: output.Json = False,
) -> None:
    """Hold rows out for validation: by class, with the same input on one side only."""
    from tuneport.data.split import split as run

    made = run(dataset, share, seed, folder=out, format=format_)
    if output.as_json:
        output.document(made.as_dict())
        return
    print(f"{made.train_rows:,} records to train on: {made.train}")
    print(f"{made.validation_rows:,} records held out: {made.validation}")


def convert(
    dataset: Annotated[
        Path, typer.Argument(metavar="DATA", help="A file, a folder or hf://owner/name.", show_default=False)
    ],
    to: Annotated[str, typer.Option("--to", help="The format to write.", show_default=False)],
    out: Annotated[
        Path,
        typer.Option("--output", "-o", help="The file to write, .jsonl, .json, .csv or .parquet.", show_default=False),
    ],
    format_: Annotated[str | None, typer.Option("--format", help="Default: found out from the data.")] = None,
    map_: Annotated[
        list[str] | None,
        typer.Option("--map", metavar="NAME=COLUMN", help="Which column has what the format calls NAME."),
    ] = None,
    allow_loss: Annotated[bool, typer.Option(help="Go on without what the target format cannot hold.")] = False,
    json_: output.Json = False,
) -> None:
    """Write a dataset in another format; what would be lost is listed, and stops the conversion."""
    from tuneport.data.convert import convert as run

    report = run(dataset, to, out, source_format=format_, columns=columns_of(map_), allow_loss=allow_loss)
    if output.as_json:
        output.document(report.as_dict())
        return
    for loss in report.losses:
        output.note(f"lost: {loss}")
    for note in report.notes:
        output.note(f"note: {note}")
    print(f"{report.rows:,} records from {report.source_format} to {report.target_format}: {out}")


def columns_of(pairs: list[str] | None) -> dict[str, str]:
    """What `--map instruction=question` says: the format's name, then the file's."""
    columns: dict[str, str] = {}
    for pair in pairs or ():
        name, equals, column = pair.partition("=")
        if not (name and equals and column):
            raise ConfigError(f"--map {pair} is no mapping; write --map instruction=question")
        if name in columns:
            raise ConfigError(f"--map gives {name} twice: {columns[name]} and {column}; choose one")
        columns[name] = column
    return columns
