"""The option `--epochs`, which every command that plans or starts training has."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import typer

from tuneport.errors import ConfigError

Epochs = Annotated[int | None, typer.Option("--epochs", min=1, help="How often the data is read: --set epochs=N.")]


def add_epochs(pairs: Sequence[str] | None, epochs: int | None) -> list[str]:
    """Return the `--set` pairs with the epochs. Raises ConfigError if they say another number already."""
    given = list(pairs or ())
    if epochs is None:
        return given
    said = [pair for pair in given if pair.partition("=")[0].strip() == "epochs"]
    if any(pair.partition("=")[2].strip() != str(epochs) for pair in said):
        raise ConfigError(f"--epochs {epochs} and --set {said[0]} say different numbers; give one of them")
    return [*(pair for pair in given if pair not in said), f"epochs={epochs}"]
