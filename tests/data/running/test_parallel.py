"""Rows spread over real processes: nothing lost, whoever fails."""

from __future__ import annotations

import errno
import os
import pickle
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tuneport.data.running import parallel, worker_pool
from tuneport.data.running.parallel import map_rows
from tuneport.errors import StorageError, TuneportError

HERE = "tests.data.running.test_parallel"
ROWS = [(line, b"x" * 1000) for line in range(1, 20_001)]


class Collecting:
    def __init__(self, word: str, worker: int) -> None:
        self.word, self.worker, self.lines = word, worker, []  # type: ignore[var-annotated]

    def add(self, rows: list[tuple[int, bytes]]) -> None:
        if self.word == "print":
            print("this must not spoil the answer")
        if self.word == "fail":
            raise StorageError("the disk is full; free some space")
        if self.word == "fail at length" and self.worker == 1:
            raise ValueError("a long story " * 100_000)
        if self.word == "leave" and self.worker == 1:
            os._exit(3)
        if self.word == "die" and self.worker == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        self.lines += [line for line, _ in rows]

    def result(self) -> Any:
        return self.worker, os.getpid(), self.lines


@pytest.fixture(autouse=True)
def _two_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parallel, "count_worker_processes", lambda: 2)


def test_every_row_goes_to_one_worker_and_none_is_lost() -> None:
    results = map_rows(ROWS, f"{HERE}:Collecting", "print")
    assert [worker for worker, _, _ in results] == [0, 1]
    assert len({pid for _, pid, _ in results} | {os.getpid()}) == 3
    assert Counter(line for _, _, lines in results for line in lines) == Counter(line for line, _ in ROWS)
    assert results[0][2] == sorted(results[0][2])


def test_a_small_dataset_starts_no_process() -> None:
    [(worker, pid, lines)] = map_rows(ROWS[:100], f"{HERE}:Collecting", "")
    assert (worker, pid, lines) == (0, os.getpid(), list(range(1, 101)))


def test_what_a_worker_raises_is_raised_here() -> None:
    with pytest.raises(StorageError, match="the disk is full; free some space"):
        map_rows(ROWS, f"{HERE}:Collecting", "fail")


def test_a_worker_that_is_killed_is_told_in_one_line() -> None:
    with pytest.raises(TuneportError, match="was killed by signal 9"):
        map_rows(ROWS, f"{HERE}:Collecting", "die")


def test_a_long_error_neither_hangs_nor_floods() -> None:
    """Longer than what a pipe holds, while the parent still has rows to write."""
    rows = ((line, b"x" * 100_000) for line in range(1, 400))
    with pytest.raises(TuneportError, match="a long story") as raised:
        map_rows(rows, f"{HERE}:Collecting", "fail at length")
    assert len(str(raised.value)) == worker_pool.MOST_MESSAGE


def test_memory_is_blamed_for_signal_9_alone() -> None:
    with pytest.raises(TuneportError, match=r"ended with exit code 3; try again"):
        map_rows(ROWS, f"{HERE}:Collecting", "leave")


def test_rows_that_cannot_be_sent_are_told() -> None:
    class Local(bytes):
        def __reduce__(self) -> Any:
            raise TypeError("a Local stays where it is")

    rows = [*ROWS[:12_000], (12_001, Local(b"x")), *ROWS[12_001:]]
    with pytest.raises(pickle.PicklingError, match="Could not pickle the task"):
        map_rows(rows, f"{HERE}:Collecting", "")


def test_memory_stays_bounded_however_slow_the_workers_are() -> None:
    """The rows are asked for as workers take them."""
    asked = 0

    def rows() -> Iterator[tuple[int, bytes]]:
        nonlocal asked
        for asked in range(1, 10**9):
            yield asked, b"x" * 100_000

    with pytest.raises(StorageError):
        map_rows(rows(), f"{HERE}:Collecting", "fail")
    batches = asked * 100_000 / parallel.BATCH_BYTES
    assert batches < 2 * (parallel._WAITING + 1) + parallel.SMALL_BYTES / parallel.BATCH_BYTES


def test_where_no_process_can_be_started_this_one_does_it_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """As where there are no semaphores, and where the number of processes is at its limit."""

    def refuse(*arguments: Any, **options: Any) -> Any:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))

    monkeypatch.setattr("loky.ProcessPoolExecutor", refuse)
    [(worker, pid, lines)] = map_rows(ROWS, f"{HERE}:Collecting", "")
    assert (worker, pid, lines) == (0, os.getpid(), [line for line, _ in ROWS])


def test_a_crew_that_cannot_be_completed_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    from loky.backend import fork_exec

    started: list[int] = []

    def start(*arguments: Any, **options: Any) -> int:
        if started:
            raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN))
        started.append(real(*arguments, **options))
        return started[0]

    real = fork_exec.fork_exec
    monkeypatch.setattr(fork_exec, "fork_exec", start)
    [(worker, pid, lines)] = map_rows(ROWS, f"{HERE}:Collecting", "")
    assert (worker, pid, len(lines)) == (0, os.getpid(), len(ROWS))
    with pytest.raises(ProcessLookupError):
        os.kill(started[0], 0)


def test_the_callers_main_module_is_not_run_again(tmp_path: Path) -> None:
    """A script without `if __name__ == "__main__"`, which `multiprocessing` would run once for each worker."""
    data = tmp_path / "train.jsonl"
    answer = "I have looked into it, and the parcel number {} is on its way to you. " * 3
    with data.open("w") as file:
        for number in range(15_000):
            row = f'{{"instruction": "Where is parcel {number}?", "output": "{answer.format(number, number, number)}"}}'
            file.write(row + " " * 400 + "\n")
    script = tmp_path / "script.py"
    script.write_text("import tuneport\nprint('here')\nprint(tuneport.check('train.jsonl').rows)\n")
    done = subprocess.run([sys.executable, "script.py"], cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode, done.stdout.splitlines()) == (0, ["here", "15000"]), done.stderr
