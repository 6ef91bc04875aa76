"""No file makes the data room fall over: it is read, or refused in one line that says where.

`python -m tests.data.test_fuzz [FILES] [SEED]` runs it by itself and prints what it met.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
import tempfile
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import pytest

from tests.data.mutations import Mutator
from tuneport.data.checks import check_dataset
from tuneport.data.conversion.convert import convert
from tuneport.data.dataset import Dataset
from tuneport.data.formats import FORMATS
from tuneport.errors import ConversionLossError, DatasetError

TARGETS = list(FORMATS)
OUTPUTS = (".jsonl", ".jsonl", ".jsonl", ".json", ".csv", ".parquet")


def test_mutated_files_are_read_or_refused(tmp_path: Path) -> None:
    outcomes = fuzz(tmp_path, files=750, seed=3)
    assert outcomes["convert: done"] > 50 and outcomes["convert: DatasetError"] > 50


@pytest.mark.full
def test_very_many_mutated_files_are_read_or_refused(tmp_path: Path) -> None:
    outcomes: Counter[str] = Counter()
    processes = min(4, os.cpu_count() or 1)
    folders = [tmp_path / str(number) for number in range(processes)]
    with ProcessPoolExecutor(processes, mp_context=multiprocessing.get_context("spawn")) as pool:
        shares = [
            pool.submit(fuzz, folder, files=20_000 // processes, seed=4 + number)
            for number, folder in enumerate(folders)
        ]
        for share in shares:
            outcomes += share.result()
    assert outcomes["convert: done"] > 2_000 and outcomes["convert: DatasetError"] > 2_000


def fuzz(folder: Path, *, files: int, seed: int) -> Counter[str]:
    """Hand mutated files to detection, check and convert; what became of them, by verb and outcome."""
    folder.mkdir(exist_ok=True)
    mutator = Mutator(seed)
    outcomes: Counter[str] = Counter()
    for number in range(files):
        suffix, content = mutator.file()
        path = folder / f"data{suffix}"
        path.write_bytes(content)
        output = folder / f"out{OUTPUTS[number % len(OUTPUTS)]}"
        target = TARGETS[number % len(TARGETS)]
        verbs = {
            "detect": lambda path=path: Dataset(path).detection,
            "check": lambda path=path: check_dataset(path),
            "convert": lambda path=path, target=target, output=output: convert(path, target, output, allow_loss=True),
        }
        for verb, run in verbs.items():
            try:
                run()
            except DatasetError as error:
                outcomes[f"{verb}: DatasetError"] += 1
                located(error, path)
            except ConversionLossError:
                outcomes[f"{verb}: ConversionLossError"] += 1
            except BaseException as error:
                kept = Path(tempfile.gettempdir()) / f"tuneport-fuzz-{seed}-{number}{suffix}"
                kept.write_bytes(content)
                raise AssertionError(f"{verb} of {kept} ({target}, {output.suffix}): {error!r}") from error
            else:
                outcomes[f"{verb}: done"] += 1
        path.unlink()
        output.unlink(missing_ok=True)
    assert not list(folder.glob(".tuneport-*")), "an unfinished output was left behind"
    return outcomes


def located(error: DatasetError, path: Path) -> None:
    assert error.count >= len(error.problems) > 0
    assert "\n" not in str(error), str(error)
    for problem in error.problems:
        assert problem.path == str(path) and problem.rule and problem.fix
        assert problem.line is None or problem.line > 0
        if problem.field:
            assert problem.line is not None, problem


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        arguments = [int(argument) for argument in sys.argv[1:]]
        for outcome, count in sorted(fuzz(Path(folder), files=arguments[0], seed=arguments[1]).items()):
            print(f"{outcome:<32}{count:>8,}")
