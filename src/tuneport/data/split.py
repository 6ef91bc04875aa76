"""Holds rows out of a dataset."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any

import msgspec

from tuneport.data.checks.task import TaskGuess
from tuneport.data.convert import ProblemTally
from tuneport.data.reading import scan
from tuneport.data.text import key_of, normalised, split_answer, written_out
from tuneport.data.writing import aside, make_folder, publish
from tuneport.errors import ConfigError, DatasetError, DatasetProblem


@dataclass(frozen=True)
class Split:
    """The two files, in the order and the format of the source, and how many rows each has."""

    train: Path
    validation: Path
    train_rows: int
    validation_rows: int
    stratified: bool

    def as_dict(self) -> dict[str, Any]:
        return {**vars(self), "train": str(self.train), "validation": str(self.validation)}


@dataclass
class _Row:
    raw: bytes
    group: int
    label: str


def split(
    path: Path | str, share: float = 0.1, seed: int = 0, *, folder: Path | str, format: str | None = None
) -> Split:
    """Write `folder/NAME.train.jsonl` and `folder/NAME.validation.jsonl`; `share` of the rows goes into the latter.

    Rows with the same input stay on one side, so none leaks. In a classification each class gives its share, at least
    one row where it has two inputs. The same file, share and seed give the same split. DatasetError for a bad
    dataset or one with fewer than two inputs, ConfigError for a share outside 0 to 0.5.
    """
    path, folder = Path(path), Path(folder)
    if not 0 < share <= 0.5:
        raise ConfigError(f"a share of {share} cannot be held out; give one above 0, at most 0.5 (0.1 to 0.2 is usual)")
    rows, stratified = _read(path, format)
    groups: dict[str, dict[int, list[_Row]]] = {}
    for row in rows:
        groups.setdefault(row.label, {}).setdefault(row.group, []).append(row)
    held_out: set[int] = set()
    for label in sorted(groups):
        held_out |= _draw(groups[label], share, seed)
    sides = [row.group in held_out for row in rows]
    if not any(sides) or all(sides):
        problem = DatasetProblem(str(path), None, "", "has too few different inputs to hold any out", "add records")
        raise DatasetError(problem)
    make_folder(folder)
    train, validation = folder / f"{path.stem}.train.jsonl", folder / f"{path.stem}.validation.jsonl"
    for side, output in ((False, train), (True, validation)):
        with aside(folder) as (file, temporary):
            file.writelines(row.raw + b"\n" for row, out in zip(rows, sides, strict=True) if out is side)
            publish(file, temporary, output)
    return Split(train, validation, sides.count(False), sides.count(True), stratified)


def _read(path: Path, format: str | None) -> tuple[list[_Row], bool]:
    rows: list[_Row] = []
    problems, task = ProblemTally(), TaskGuess()
    for found in scan(path, format):
        if not problems.accept(found.problems) or found.record is None:
            continue
        context, answer = split_answer(found.record)
        output = written_out(answer)
        task.add(output)
        raw = msgspec.json.format(found.raw, indent=-1) if b"\n" in found.raw else found.raw
        rows.append(_Row(raw, key_of(written_out(context, system=False)), normalised(output)))
    problems.end()
    stratified = task.name == "classification"
    if stratified:
        labels: dict[int, str] = {}
        for row in rows:  # an input with two labels counts once, so that it stays on one side
            row.label = labels.setdefault(row.group, row.label)
    else:
        for row in rows:
            row.label = ""
    return rows, stratified


def _draw(groups: dict[int, list[_Row]], share: float, seed: int) -> set[int]:
    """Groups of inputs, in an order that the seed decides, until their rows make up the share."""
    if len(groups) < 2:
        return set()
    wanted = max(1, round(share * sum(len(rows) for rows in groups.values())))
    order = sorted(groups, key=lambda group: blake2b(f"{seed}:{group}".encode(), digest_size=8).digest())
    drawn: set[int] = set()
    taken = 0
    for group in order:
        size = len(groups[group])
        if taken and taken + size > wanted or len(drawn) == len(groups) - 1:
            continue
        drawn.add(group)
        taken += size
        if taken >= wanted:
            break
    return drawn
