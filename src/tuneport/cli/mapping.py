"""`--map`: which column of a file has what its format calls otherwise."""

from __future__ import annotations

from typing import Annotated

import typer

from tuneport.errors import ConfigError

Map = Annotated[
    list[str] | None, typer.Option("--map", metavar="NAME=COLUMN", help="Which column has what the format calls NAME.")
]


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
