"""The rows of its own dataset that a job holds out: what `--validation` means where it names no file."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeAlias

from pydantic import ValidationError

from tuneport.types import Model, TuneSpec

if TYPE_CHECKING:
    from tuneport.data.conversion.inline_images import ImageInliner
    from tuneport.data.dataset import Dataset

SHARE = 0.1
FEWEST_ROWS = 200
"""Rows below which nothing is held out by default: a tenth would be fewer than 20, which say little and are missed."""
SPLITS = "splits"
"""The folder of the home with what is held out: a folder for each dataset and share."""
HELD_OUT_LIST = "held-out.json"

HoldOut: TypeAlias = float | Literal["auto"] | None
"""The share of the rows to hold out; "auto": a tenth, where the dataset has enough rows; None: no rows."""


class JobHoldOut(Model):
    """`validation_rows` of the rows of `source`, whose content is `sha256`, are held out; the others are trained on."""

    source: Path
    sha256: str
    share: float
    seed: int
    train: Path
    validation: Path
    train_rows: int
    validation_rows: int

    def __str__(self) -> str:
        rows = self.train_rows + self.validation_rows
        return f"{self.validation_rows:,} of {rows:,} rows of {self.source.name} ({self.share:.0%})"


def parse_hold_out_share(text: str) -> float | None:
    """Return the share that a text such as `10%` means; None if it is no percentage, or there is a file of that
    name."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)%", text)
    return None if found is None or Path(text).exists() else float(found[1]) / 100


def held_out_by_default(spec: TuneSpec) -> bool:
    """Return whether a job gets held-out rows unless the user says otherwise: not if answers are judged by rewards, and
    not if it continues another job, which may have trained on them."""
    return spec.validation is None and spec.from_checkpoint is None and not spec.method.writes_answers


def read_job_pictures(dataset: Dataset) -> ImageInliner | None:
    """Return what reads the pictures that a job's file names by a path: from the folder of the dataset that the file is
    a part of. None if they are not read."""
    from tuneport.data.conversion.inline_images import ImageInliner
    from tuneport.data.dataset import Dataset as Source

    if not dataset.reading.inline_images:
        return None
    part = find_held_out_rows(dataset.path)
    return ImageInliner.of(dataset if part is None else Source(part.source))


def find_held_out_rows(dataset: Path) -> JobHoldOut | None:
    """Return what the training file of a job is a part of, or None if it is whole (or its folder is gone)."""
    if dataset.parent.parent.name != SPLITS:
        return None
    try:
        return JobHoldOut.model_validate_json((dataset.parent / HELD_OUT_LIST).read_bytes())
    except (OSError, ValidationError):
        return None
