"""The option `--map`: which column of a file has which field of its format."""

from __future__ import annotations

from typing import Annotated

import typer

from tuneport.errors import ConfigError

Map = Annotated[
    list[str] | None, typer.Option("--map", metavar="NAME=COLUMN", help="The column for the format's field NAME.")
]


def parse_map_option(pairs: list[str] | None) -> dict[str, str]:
    """Return the columns by the format's names: `--map instruction=question` names the format's field first."""
    columns: dict[str, str] = {}
    for pair in pairs or ():
        name, equals, column = pair.partition("=")
        if not (name and equals and column):
            raise ConfigError(f"--map {pair} is not a mapping; write --map instruction=question")
        if name in columns:
            raise ConfigError(f"--map gives {name} twice: {columns[name]} and {column}; choose one")
        columns[name] = column
    return columns
