"""Processes of loky that neither outlive their parent nor leave anything in it."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.support.folders import CHECKOUT
from tests.support.waiting import until
from tuneport.data.running import worker_pool
from tuneport.data.running.worker_pool import WorkerPool, picklable_error
from tuneport.errors import TuneportError

HERE = "tests.data.running.test_worker_pool"
SCRIPT = f"""
import os, signal, sys, threading, time
from tuneport.data.running.worker_pool import WorkerPool

def work():
    with WorkerPool(2, "{HERE}:Busy", "there") as pool:
        if "early" not in sys.argv:
            [pool.result(each) for each in [pool.submit("sleep", 0.5) for _ in range(2)]]
        queued = [pool.submit("sleep", 300.0) for _ in range(9)]
        print(*pool._executor._processes, flush=True)
        pool.result(queued[0])

if "thread" in sys.argv:
    threading.Thread(target=work, daemon=True).start()
    time.sleep(300)
else:
    work()
"""


class Busy:
    def __init__(self, word: str) -> None:
        self.word = word

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds)

    def environment(self) -> dict[str, str]:
        return dict(os.environ)

    def grow(self, size: int) -> int:
        self.word += "x" * size
        return len(self.word)

    def fail(self, error: Exception) -> None:
        raise error

    def say(self) -> int:
        print("this must not spoil the answer")
        return os.getpid()


def alive(process: psutil.Process) -> bool:
    try:
        return bool(process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


@contextmanager
def started(tmp_path: Path, how: str, folder: Path | None = None) -> Iterator[subprocess.Popen[str]]:
    """Provide a parent whose children are workers with queued tasks, and two resource trackers. All end."""
    (tmp_path / "script.py").write_text(SCRIPT)
    with subprocess.Popen(
        [sys.executable, "-P", tmp_path / "script.py", how],
        cwd=folder or tmp_path,
        env={**os.environ, "PYTHONPATH": f"{CHECKOUT / 'src'}{os.pathsep}{CHECKOUT}"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as run:
        try:
            assert run.stdout is not None
            workers = {int(word) for word in run.stdout.readline().split()}
            found = psutil.Process(run.pid).children()
            assert len(workers) == 2 and len(found) == 4 and workers < {process.pid for process in found}
            yield run
            until(lambda: not any(map(alive, found)), 10.0)
        finally:
            with suppress(ProcessLookupError):
                os.killpg(run.pid, signal.SIGKILL)


@pytest.mark.skipif(sys.platform != "linux", reason="no such signal elsewhere")
@pytest.mark.parametrize("how", ["running", "early", "thread"])
def test_after_kill_9_of_the_parent_nothing_lives_on(how: str, tmp_path: Path) -> None:
    """With tasks that run and tasks that wait; while the workers are about to import; started by another thread."""
    with started(tmp_path, how) as run:
        run.kill()
        run.wait()


@pytest.mark.skipif(sys.platform != "linux", reason="no such signal elsewhere")
@pytest.mark.parametrize("how", ["running", "early"])
def test_ctrl_c_ends_all_at_once_and_only_the_parent_says_so(how: str, tmp_path: Path) -> None:
    """A terminal sends it to the whole group."""
    with started(tmp_path, how) as run:
        began = time.monotonic()
        os.killpg(run.pid, signal.SIGINT)
        _, errors = run.communicate(timeout=60)
        assert time.monotonic() - began < 20
        assert run.returncode == -signal.SIGINT and errors.count("KeyboardInterrupt") == 1, errors


@pytest.mark.skipif(sys.platform != "linux", reason="no such signal elsewhere")
def test_what_lies_in_the_folder_is_not_imported(tmp_path: Path) -> None:
    """Who checks a dataset in a folder of somebody else's runs none of the programs there."""
    folder = tmp_path / "downloaded"
    folder.mkdir()
    for name in ("loky", "multiprocessing", "pickle", "argparse", "signal", "tuneport", "numpy"):
        (folder / f"{name}.py").write_text("open('ran', 'a').write(__name__)\n")
    with started(tmp_path, "running", folder) as run:
        run.kill()
        run.wait()
    assert not (folder / "ran").exists()


def test_a_worker_whose_parent_has_ended_before_it_could_ask_to_be_told_ends() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", f"from {worker_pool.__name__} import _set_up; _set_up(1, '', ()); print('lives on')"],
        stderr=subprocess.PIPE,
        text=True,
    ) as run:
        _, said = run.communicate(timeout=60)
    assert (run.returncode, said) == (1, "")


def test_where_there_is_no_such_signal_a_thread_watches_the_parent(monkeypatch: pytest.MonkeyPatch) -> None:
    parents = iter([7, 7, 1])
    monkeypatch.setattr(os, "_exit", sys.exit)
    monkeypatch.setattr(os, "getppid", lambda: next(parents))
    with pytest.raises(SystemExit):
        worker_pool._watch(7, watch_seconds=0.0)
    assert next(parents, None) is None


@pytest.mark.skipif(sys.platform != "linux", reason="no such signal elsewhere")
def test_workers_end_with_the_thread_that_has_started_them() -> None:
    """Linux takes that for their parent; so a pool belongs to one thread."""
    pools: list[WorkerPool] = []

    def begin() -> None:
        pools.append(WorkerPool(1, f"{HERE}:Busy", ""))
        pools[0].result(pools[0].submit("sleep", 0.0))

    thread = threading.Thread(target=begin)
    thread.start()
    thread.join()
    with pools[0], pytest.raises(TuneportError, match="a worker process was killed by signal 9"):
        pools[0].result(pools[0].submit("sleep", 300.0))


def test_nothing_stays_in_the_callers_process(capfd: pytest.CaptureFixture[str]) -> None:
    def files() -> int:
        return len(os.listdir("/proc/self/fd")) if sys.platform == "linux" else 0

    environment, threads = dict(os.environ), set(threading.enumerate())
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, [])
    method = multiprocessing.get_start_method(allow_none=True)
    opened = []
    for _ in range(3):
        with WorkerPool(2, f"{HERE}:Busy", "") as pool:
            queued = [pool.submit("grow", 3 << 20) for _ in range(3)] + [pool.submit("sleep", 300.0) for _ in range(2)]
            # More than a pipe holds, on its way to a process that is killed.
            queued += [pool.submit("fail", ValueError("x" * (3 << 20))) for _ in range(4)]
            assert pool.result(queued[0]) == 3 << 20
        assert not multiprocessing.active_children()
        until(lambda: set(threading.enumerate()) <= threads, 20.0)
        opened.append(files())
    assert opened[0] == opened[-1]
    assert (dict(os.environ), signal.pthread_sigmask(signal.SIG_BLOCK, [])) == (environment, mask)
    assert multiprocessing.get_start_method(allow_none=True) == method
    assert capfd.readouterr() == ("", "")


def test_workers_have_one_thread_and_a_session_and_write_to_stderr(capfd: pytest.CaptureFixture[str]) -> None:
    with WorkerPool(1, f"{HERE}:Busy", "") as pool:
        told = pool.result(pool.submit("environment"))
        assert {told[name] for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")} == {"1"}
        worker = pool.result(pool.submit("say"))
        assert os.getsid(worker) == worker  # a session of its own, and with it a share of a busy processor
    assert capfd.readouterr() == ("", "this must not spoil the answer\n")


def test_a_worker_that_grows_keeps_what_it_has_found() -> None:
    """Loky replaces a process that has grown by 300 MB by a new one; if there is psutil, it looks once a second."""
    with WorkerPool(1, f"{HERE}:Busy", "") as pool:
        grown = [pool.result(pool.submit("grow", size)) for size in (1, 350 << 20)]
        pool.result(pool.submit("sleep", 1.1))
        assert pool.result(pool.submit("grow", 1)) == grown[-1] + 1


def test_errors_come_as_they_are_or_in_words() -> None:
    class OwnError(Exception):
        def __init__(self, one: int, other: int) -> None:
            super().__init__(f"{one} and {other}")

    error: Any = TuneportError("the disk is full")
    assert picklable_error(error) is error
    assert str(picklable_error(OwnError(1, 2))) == "1 and 2"
    assert len(str(picklable_error(ValueError("x" * 10_000)))) == worker_pool.MOST_MESSAGE
