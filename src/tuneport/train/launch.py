"""Several processes for one run on this machine, one a device, as torchrun's contract has it.

Ours and not torchrun's agent, because the ranks must hold the run's lock beside the process that started them (the one
that finds that one dead must not start another while a rank still writes), and must end with it.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from tuneport.errors import TuneportError
from tuneport.train.run.run_folder import TrainingRunFolder
from tuneport.types import JobError

_SECONDS_TO_SPEAK = 3.0  # for the other ranks, after one has ended badly: what they say is in the log


class RankFailedError(TuneportError):
    """A rank ended with an error that it could tell: `failure`."""

    def __init__(self, failure: JobError) -> None:
        super().__init__(failure.message)
        self.failure = failure


class RankDiedError(TuneportError):
    """A rank died without a word; the run is to go on from its newest checkpoint."""


def launch_training_ranks(
    run: TrainingRunFolder, count: int, stop: Callable[[], bool], *, module: str = "tuneport.train.ddp_worker"
) -> None:
    """Train on `count` processes, with the run's state read again at the end. Returns as `recipe.train` does, or raises
    RankFailedError or RankDiedError.

    The ranks obey `stop`; it is also called here so that it remembers why.
    """
    meeting = run.path / "ranks"
    shutil.rmtree(meeting, ignore_errors=True)
    meeting.mkdir()
    try:
        with _started(run, count, module) as processes:
            while True:
                stop()
                codes = [process.poll() for process in processes]
                if all(code == 0 for code in codes):
                    break
                if any(code not in (0, None) for code in codes):
                    _raise(meeting, processes)
                time.sleep(0.05)
        shutil.rmtree(meeting, ignore_errors=True)
    finally:
        run.read_state()


@contextlib.contextmanager
def _started(run: TrainingRunFolder, count: int, module: str) -> Iterator[list[subprocess.Popen[bytes]]]:
    processes: list[subprocess.Popen[bytes]] = []
    try:
        for index in range(count):
            processes.append(
                subprocess.Popen(
                    [sys.executable, "-m", module, str(run.path)],
                    env=os.environ | _environment(index, count),
                    pass_fds=run.locks,
                    stdin=subprocess.DEVNULL,
                )
            )
        yield processes
    finally:
        for process in processes:
            if process.poll() is None:
                process.kill()
            process.wait()


def _environment(index: int, count: int) -> dict[str, str]:
    environment = {
        "RANK": str(index),
        "LOCAL_RANK": str(index),
        "WORLD_SIZE": str(count),
        "LOCAL_WORLD_SIZE": str(count),
        # The ranks meet in a file; accelerate wants to see these all the same.
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": "29500",
    }
    given = os.environ.get("OMP_NUM_THREADS", "")
    threads = str(max(1, (int(given) if given.isdigit() else os.cpu_count() or 1) // count))
    environment |= {"OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads}
    if sys.platform.startswith("linux"):
        environment["GLOO_SOCKET_IFNAME"] = os.environ.get("GLOO_SOCKET_IFNAME", "lo")
    return environment


def _raise(meeting: Path, processes: Sequence[subprocess.Popen[bytes]]) -> None:
    """Raise the error of the first rank that ended badly, as reported by a rank or seen from here."""
    # The others mostly fail next, because they lost it, and would tell that: the first word counts.
    failure = meeting / "failure.json"
    deadline = time.monotonic() + _SECONDS_TO_SPEAK
    died = [(index, p.returncode) for index, p in enumerate(processes) if p.returncode not in (0, None)]
    by_signal = [(index, -code) for index, code in died if code < 0]
    while not by_signal and not failure.exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    if not by_signal and failure.exists():
        raise RankFailedError(JobError.model_validate_json(failure.read_bytes()))
    index, number = by_signal[0] if by_signal else (died[0][0], 0)
    how = f"was killed by {signal.Signals(number).name}" if number else f"ended with code {died[0][1]}"
    raise RankDiedError(f"worker {index} of {len(processes)} {how}")
