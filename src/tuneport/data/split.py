"""Holds rows out of a dataset."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from hashlib import blake2b
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from tuneport.data.checks.gathering import run_row_checks
from tuneport.data.checks.near.columns import DuplicateCheckColumns
from tuneport.data.checks.near.lookup import examples_at_lines
from tuneport.data.checks.near.minhash import minhash_candidate_pairs
from tuneport.data.checks.near.near_duplicates import (
    ROWS_BESIDE,
    Lookup,
    duplicate_check_input_text,
    find_near_duplicates,
    near_duplicate_threshold,
)
from tuneport.data.containers.folder import dataset_stem
from tuneport.data.containers.source import RowSource
from tuneport.data.dataset import Dataset, DatasetLike
from tuneport.data.running.writing import (
    ELSEWHERE,
    make_output_folder,
    publish_output_file,
    refuse_overwriting,
    temporary_file,
)
from tuneport.deprecation import renamed
from tuneport.errors import ConfigError, DatasetError, DatasetProblem, StorageError

Indexes = npt.NDArray[np.int64]


@dataclass(frozen=True)
class DatasetSplit:
    """The two files, in the order and the format of the source, and how many rows each has."""

    train: Path
    validation: Path
    train_rows: int
    validation_rows: int
    stratified: bool

    def as_dict(self) -> dict[str, Any]:
        return {**vars(self), "train": str(self.train), "validation": str(self.validation)}


@renamed(path="dataset", folder="output")
def split(
    dataset: DatasetLike,
    share: float = 0.1,
    seed: int = 0,
    *,
    output: Path | str,
    format: str | None = None,
    columns: Mapping[str, str] | None = None,
) -> DatasetSplit:
    """Write `output/NAME.train.jsonl` and `output/NAME.validation.jsonl`; `share` of the rows goes into the latter.

    Rows with the same input, or nearly the same, stay on one side, so none leaks. In a classification each class gives
    its share, at least one row if it has two inputs. The same file, share and seed give the same split. `output` is
    made if needed, its parents are not. Raises DatasetError for a bad dataset or one with fewer than two inputs,
    ConfigError for a share outside 0 to 0.5, StorageError if the files cannot be written.
    """
    folder = Path(output)
    if not folder.parent.is_dir():  # more than one new folder is a slip of the pen
        raise StorageError(f"{folder.parent}: the folder does not exist; create it, or {ELSEWHERE}")
    return split_dataset(Dataset.of(dataset, columns, format), share, seed, folder)


def split_dataset(data: Dataset, share: float, seed: int, folder: Path, *, for_job: bool = False) -> DatasetSplit:
    """Split as `split` does. `for_job`: the columns keep their names, since the job reads the files as it would the
    whole, and the files are for their owner's eyes, as all in the home."""
    if not 0 < share <= 0.5:
        raise ConfigError(f"a share of {share} cannot be held out; give one above 0, at most 0.5 (0.1 to 0.2 is usual)")
    with tempfile.TemporaryDirectory(prefix="tuneport-split-") as temporary:
        found = run_row_checks(data, vocabulary=None, folder=Path(temporary), judged=False)
        found.schema.raise_if_any()
        stratified = found.task.name == "classification"
        remembered, lookup = found.columns, partial(examples_at_lines, data)
        groups = _groups(remembered, lookup, near_duplicate_threshold(found.is_templated))
        held_out = _held_out(groups, remembered, share, seed, stratified)
        if not held_out and stratified:  # no class has two inputs
            stratified = False
            held_out = _held_out(groups, remembered, share, seed, stratified)
    if not held_out or len(held_out) == found.rows:
        problem = DatasetProblem(
            str(data.path), None, "", "has too few different inputs to hold any out", "add records"
        )
        raise DatasetError(problem)
    make_output_folder(folder, private=for_job)
    train, validation = split_files(data, folder)
    source = RowSource(data.path) if for_job else data.open()
    refuse_overwriting((train, validation), source.files)
    with ExitStack() as stack:
        files = [stack.enter_context(temporary_file(folder)) for _ in range(2)]
        for line, raw in source.rows():
            row = msgspec.json.format(raw, indent=-1) if b"\n" in raw else raw
            files[line in held_out][0].write(row + b"\n")
        publish_output_file(*files[0], train, private=for_job)
        publish_output_file(*files[1], validation, private=for_job)
    return DatasetSplit(train, validation, found.rows - len(held_out), len(held_out), stratified)


def split_files(data: Dataset, folder: Path) -> tuple[Path, Path]:
    """Return the files that `split` writes into `folder`: of training and of validation."""
    stem = dataset_stem(data.path)
    return folder / f"{stem}.train.jsonl", folder / f"{stem}.validation.jsonl"


def _held_out(groups: Indexes, columns: DuplicateCheckColumns, share: float, seed: int, stratified: bool) -> set[int]:
    labels = columns.key("answer") if stratified else np.zeros(len(columns), np.uint64)
    # A group's number is the index of its first row, whose label is the group's: it stays on one side.
    numbers, sizes = np.unique(groups, return_counts=True)
    names = columns.key("question")[numbers]
    drawn: set[int] = set()
    for label in np.unique(labels[numbers]):
        members = labels[numbers] == label
        drawn |= _draw(names[members].tolist(), numbers[members].tolist(), sizes[members].tolist(), share, seed)
    chosen = np.isin(groups, np.fromiter(drawn, np.int64, len(drawn)))
    return set(columns.lines[chosen].tolist())


def _groups(columns: DuplicateCheckColumns, lookup: Lookup, similar: float) -> Indexes:
    """Return for each row the index of the first row whose input is the same, or `similar`, directly or through
    others."""
    lines, count = columns.lines, len(columns)
    keys = columns.key("question")
    order = np.lexsort((lines, keys))
    starts = np.concatenate(([True], keys[order][1:] != keys[order][:-1]))
    group = np.empty(count, np.int64)
    group[order] = order[np.flatnonzero(starts)[np.cumsum(starts) - 1]]
    by_line = np.argsort(lines)
    pairs = minhash_candidate_pairs(columns.bands("input"), lines)
    pairs = pairs[group[pairs[:, 0]] != group[pairs[:, 1]]]
    found = find_near_duplicates(pairs, "input", columns, lookup, duplicate_check_input_text, per_row=ROWS_BESIDE)
    near = [(line, beside) for line, beside, alike, _ in found if alike >= similar]
    pairs = by_line[np.searchsorted(lines, np.array(near, np.int64).reshape(-1, 2), sorter=by_line)]
    root = np.arange(count)

    def find(index: int) -> int:
        while root[index] != index:
            root[index] = root[root[index]]
            index = int(root[index])
        return index

    for one, other in group[pairs].tolist():
        one, other = find(one), find(other)
        if one != other:
            first, second = (one, other) if lines[one] < lines[other] else (other, one)
            root[second] = first
    joined = np.unique(group[pairs])
    for index in joined.tolist():
        root[index] = find(index)
    return root[group]


def _draw(names: list[int], numbers: list[int], sizes: list[int], share: float, seed: int) -> set[int]:
    """Draw groups, in an order that the seed and their inputs decide, until their rows make up the share."""
    if len(numbers) < 2:
        return set()
    wanted = max(1, round(share * sum(sizes)))
    order = [blake2b(f"{seed}:{name}".encode(), digest_size=8).digest() for name in names]
    ordered = sorted(zip(order, numbers, sizes, strict=True))
    drawn: set[int] = set()
    taken = 0
    for _, number, size in ordered:
        if taken + size > wanted or len(drawn) == len(numbers) - 1:
            continue
        drawn.add(number)
        taken += size
        if taken == wanted:
            break
    # Where every group is larger than the share, the smallest comes nearest to it.
    return drawn or {min(ordered, key=lambda each: each[2])[1]}
