"""Parts worked on by real processes: in order, none lost, whoever fails."""

from __future__ import annotations

import errno
import multiprocessing
import os
import signal
import subprocess
import sys
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

from tests.support.folders import CHECKOUT
from tuneport.data.running.ordered_map import ordered_map
from tuneport.errors import StorageError, TuneportError

HERE = "tests.data.running.test_ordered_map"
PARENT = os.getpid()
PARTS = range(60)


class Making:
    """Bytes of a length that grows and shrinks from part to part."""

    def __init__(self, word: str, parent: int) -> None:
        self.word, self.helps = word, os.getpid() != parent

    def process_part(self, part: int) -> tuple[bytes, Any]:
        if self.helps and part > 20:
            if self.word == "fail":
                raise StorageError("the disk is full; free some space")
            if self.word == "die":
                os.kill(os.getpid(), signal.SIGKILL)
        if self.word == "print":
            print("this must not spoil the answer")
        data = bytes([part % 256]) * (part % 7 * 50_000)
        return data, (part, os.getpid(), "a long story" * 20_000 if self.word == "tell" else "")


@pytest.fixture(autouse=True)
def _two_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    from tests.data.two_processes import always

    always(monkeypatch)


def made(word: str, scratch: Path, worth_seconds: float = 0.0) -> Generator[tuple[bytes, Any], None, None]:
    return ordered_map(PARTS, f"{HERE}:Making", word, os.getpid(), scratch=scratch, worth_seconds=worth_seconds)


@pytest.mark.parametrize("word", ["print", "tell"])
def test_every_part_is_made_once_and_comes_in_its_place(word: str, tmp_path: Path) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    results = list(made(word, scratch))
    assert [part for _, (part, _, _) in results] == list(PARTS)
    assert [data for data, _ in results] == [bytes([part]) * (part % 7 * 50_000) for part in PARTS]
    assert len({pid for _, (_, pid, _) in results}) == 2
    assert not list(scratch.iterdir())


def test_little_work_starts_no_process(tmp_path: Path) -> None:
    assert {pid for _, (_, pid, _) in made("", tmp_path, worth_seconds=3600)} == {os.getpid()}


def test_what_a_helper_raises_is_raised_here(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="the disk is full; free some space"):
        list(made("fail", tmp_path))


def test_a_helper_that_is_killed_is_told_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(TuneportError, match="a worker process was killed by signal 9"):
        list(made("die", tmp_path))


def test_processes_that_cannot_be_started_are_done_without(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: Any, **options: Any) -> Any:
        raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN))

    monkeypatch.setattr("loky.backend.fork_exec.fork_exec", refuse)
    results = list(made("", tmp_path))
    assert [part for _, (part, _, _) in results] == list(PARTS)
    assert {pid for _, (_, pid, _) in results} == {os.getpid()}


def test_whoever_stops_early_leaves_no_process(tmp_path: Path) -> None:
    results = made("", tmp_path)
    for _ in range(5):
        next(results)
    assert multiprocessing.active_children()
    results.close()
    assert not multiprocessing.active_children()


def test_an_interrupted_parent_takes_its_helpers_along(tmp_path: Path) -> None:
    """Ctrl-C reaches the parent alone, wherever it is at that moment."""
    script = tmp_path / "script.py"
    script.write_text(
        "import os, pathlib\n"
        "from tuneport.data.running import ordered_map as ordered\n"
        "ordered.count_worker_processes, seen = lambda: 2, set()\n"
        f"for _, (_, pid, _) in ordered.ordered_map(range(10**9), '{HERE}:Making', '', os.getpid(), "
        "scratch=pathlib.Path(), worth_seconds=0.0):\n"
        "    if pid != os.getpid() and pid not in seen:\n"
        "        seen.add(pid)\n"
        "        print(pid, flush=True)\n"
    )
    path = f"{CHECKOUT / 'src'}{os.pathsep}{CHECKOUT}"
    with subprocess.Popen(
        [sys.executable, script],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": path},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as run:
        assert run.stdout is not None
        helper = int(run.stdout.readline())
        run.send_signal(signal.SIGINT)
        _, errors = run.communicate(timeout=120)
    assert run.returncode == -signal.SIGINT and b"KeyboardInterrupt" in errors
    with pytest.raises(ProcessLookupError):
        os.kill(helper, 0)
