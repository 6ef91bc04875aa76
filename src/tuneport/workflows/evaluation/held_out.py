"""Rows to measure on, and the proof that no model has been trained on them."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tuneport.data.checks import check_dataset
from tuneport.data.dataset import Dataset
from tuneport.data.rows.reading_options import ReadingOptions
from tuneport.errors import ConfigError
from tuneport.scoring.examples import Example, make_scoring_tool_example

_LINES_TOLD = 5


@dataclass(frozen=True)
class HeldOutRows:
    """Held-out rows: `rows` are asked, in the file's order; `lines` has their line numbers. `of`: all usable ones that
    are held out.

    `exact` and `near` are the lines whose input is in a training file, which are left out. `unusable`: records that are
    no question and answer, or have an image. `against`: the hash of each training file, by its name. `read_as`: a
    sentence on the system prompt and the columns that a job's training data was given, if they matter.
    """

    path: Path
    rows: tuple[Example, ...]
    lines: tuple[int, ...]
    of: int
    exact: tuple[int, ...]
    near: tuple[int, ...]
    unusable: int
    task: str
    against: Mapping[str, str]
    sha256: str
    read_as: str = ""

    @property
    def different(self) -> int:
        """Return how many of the rows ask something that no row before them asks: the others add no information."""
        return len({json.dumps(row.messages) for row in self.rows})

    @property
    def proof(self) -> str:
        """Return the proof as a sentence for people."""
        if not self.against:
            return "not proved to be held out, because no training file is known: name it with --train"
        files = ", ".join(self.against)
        leaks = len(self.exact) + len(self.near)
        if not leaks:
            return f"none of them is in the training data, exactly or nearly ({files})"
        told = sorted((*self.exact, *self.near))
        which = ", ".join(map(str, told[:_LINES_TOLD])) + (" ..." if leaks > _LINES_TOLD else "")
        return (
            f"{leaks:,} rows are in the training data ({len(self.exact):,} exactly, {len(self.near):,} nearly: line "
            f"{which}) and are left out"
        )

    def as_dict(self) -> dict[str, Any]:
        return {
            "path": str(self.path),
            "sha256": self.sha256,
            "rows": len(self.rows),
            "different": self.different,
            "of": self.of,
            "left_out": {"exact": list(self.exact), "near": list(self.near), "unusable": self.unusable},
            "against": dict(self.against),
            "task": self.task,
        }


def read_as_trained(dataset: Dataset, training: Mapping[str, Dataset]) -> tuple[Dataset, str]:
    """Return the held-out rows, read as the `training` data of the jobs (by their names) if nothing else was said and
    all were read alike, and a sentence for people if any of them was given a system prompt, a template or columns."""
    ways = {name: _rows_made_by(each) for name, each in training.items()}
    told = {name: way for name, way in ways.items() if way.given()}
    if not told:
        return dataset, ""
    name, way = next(iter(told.items()))
    words = "; ".join(f"{label} {text}" for label, text in way.shown().items())
    if dataset.reading.given():
        own = _rows_made_by(dataset)
        same = (own.system, own.template) == (way.system, way.template)
        return dataset, "" if same else f"asked otherwise than {name} was trained, whose rows have: {words}"
    if any(each != way for each in ways.values()):
        return dataset, f"read as they are, while {name} was trained with: {words}; give the same options for all"
    given = dataset.path if dataset.in_file else dataset
    return training[name].validation_like(given), f"read as the training data of {name}: {words}"


def _rows_made_by(dataset: Dataset) -> ReadingOptions:
    """Return the options of reading that change what a row says."""
    return replace(dataset.reading, ignored_columns=(), keep_unliked=False, inline_images=False)


def find_held_out_rows(
    dataset: Dataset | Path,
    training: Mapping[str, Path],
    *,
    most: int | None = None,
    seed: int = 0,
    task: str | None = None,
) -> HeldOutRows:
    """Return the rows of the dataset that are in none of the `training` files (by their names for people), exactly or
    nearly: by the hashes and sketches of `tuneport check`. It draws at most `most` of them by `seed`. Raises
    ConfigError if none is left, or a training file is gone."""
    dataset = Dataset.of(dataset)
    if missing := [name for name, each in training.items() if not each.exists()]:
        raise ConfigError(
            f"the training file {missing[0]} is gone, so nothing proves what is held out; name it: --train"
        )
    exact: set[int] = set()
    near: set[int] = set()
    guessed = ""
    for other in training.values() or (None,):
        # The other way round than in `check`: what is flagged are the held-out rows that the training data has.
        report = check_dataset(dataset, validation=other, task=task)
        guessed = report.task
        if other is not None:
            exact.update(report.flagged.get("holdout.exact", ()))
            near.update(report.flagged.get("holdout.near", ()))
    near -= exact
    rows: list[Example] = []
    lines: list[int] = []
    unusable = 0
    for line, record in dataset.records():
        example = make_scoring_tool_example(record)
        if example is None:
            unusable += 1
        elif line not in exact and line not in near:
            rows.append(example)
            lines.append(line)
    if not rows:
        why = "all of its rows are in the training data" if exact or near else "it has no question with its answer"
        raise ConfigError(f"there is nothing in {dataset.path} to measure on: {why}")
    chosen = range(len(rows))
    if most is not None and most < len(rows):
        chosen = sorted(random.Random(seed).sample(range(len(rows)), most))  # type: ignore[assignment]
    return HeldOutRows(
        path=dataset.path,
        rows=tuple(rows[index] for index in chosen),
        lines=tuple(lines[index] for index in chosen),
        of=len(rows),
        exact=tuple(sorted(exact)),
        near=tuple(sorted(near)),
        unusable=unusable,
        task=task or guessed,
        against={name: Dataset(each).digest() for name, each in training.items()},
        sha256=dataset.digest(),
    )
