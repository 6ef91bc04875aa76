"""The option `--force`: whether a command may replace the files that it writes."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import typer

from tuneport.errors import ConfigError

Force = Annotated[bool, typer.Option("--force", help="Replace output files that are there already.")]


def refuse_existing_outputs(outputs: Iterable[Path], sources: Iterable[Path], *, force: bool) -> None:
    """Raise ConfigError if an output is one of the files that are read, a folder, named twice, or, without `force`,
    there already."""
    from tuneport.data.running.writing import refuse_overwriting

    outputs = list(outputs)
    refuse_overwriting(outputs, sources)
    for output in outputs:
        if not force and os.path.lexists(output):  # a link that leads nowhere would be replaced, too
            raise ConfigError(f"{output} is there already; name another, or replace it with --force")
