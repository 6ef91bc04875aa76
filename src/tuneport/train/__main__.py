"""`python -m tuneport.train RUN_FOLDER`: one fine-tuning run, from its request to its weights.

The parent made the folder with `run.json` and may die; this process goes on. Started again after a crash, it continues
from the newest checkpoint, and so it does after a SIGTERM that nobody asked for by the file `cancel`: a reboot, say.
A run whose folder was deleted ends, too, and writes nothing more.
Exit codes: 0 done or cancelled, 1 failed (state.json says why), 66 the folder is gone, 75 another child has it,
143 stopped and to go on.
"""

from __future__ import annotations

import os
import signal
import sys
import traceback
from pathlib import Path
from types import FrameType

from tuneport.train import watchdog
from tuneport.train.run_folder import ANOTHER_CHILD_LIVES, RunFolder
from tuneport.types import JobStatus

STOPPED_FROM_OUTSIDE = 128 + signal.SIGTERM
FOLDER_GONE = 66  # EX_NOINPUT


class Stop:
    """Becomes true for good once the run is to stop: SIGTERM, the file `cancel`, or a folder that is no more."""

    def __init__(self, run: RunFolder) -> None:
        self.run, self.signalled = run, False
        signal.signal(signal.SIGTERM, self._on_signal)

    def __call__(self) -> bool:
        return self.signalled or self.run.cancelled or self.run.gone

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self.signalled = True


def main(folder: Path, *, watched: bool = False) -> int:
    """`watched`: this process, and all its group, may be killed where it does not stop by itself."""
    run = RunFolder(folder)
    if not run.lock():
        return ANOTHER_CHILD_LIVES
    if watched:
        watchdog.start(run)
    try:
        return 0 if run.finished else _run(run)
    finally:
        run.unlock()


def _run(run: RunFolder) -> int:
    stop = Stop(run)
    run.clear_working()
    try:
        with run.devices(1, stop) as devices:
            if devices is not None and not stop():
                # Heavy imports come late, so that a run which waits for the device holds no memory.
                from tuneport.train.recipe import train

                train(run, stop)
    except Exception as error:
        if run.gone:
            return FOLDER_GONE
        traceback.print_exc()
        from tuneport.train.failures import job_error

        failure = job_error(error)
        run.clear_working()
        run.event(failure.message, level="error")
        run.finish(JobStatus.FAILED, error=failure)
        return 1
    if run.gone:
        return FOLDER_GONE
    if not run.finished:
        run.clear_working()
        if not run.cancelled:
            run.event("Stopped by the system; the run goes on when it is next looked at", level="warning")
            return STOPPED_FROM_OUTSIDE
        run.event("Fine-tuning job cancelled")
        run.finish(JobStatus.CANCELLED)
    return 0


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python -m tuneport.train RUN_FOLDER")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    # Threads that wait for each other by spinning take the processor from those they wait for as soon as anything else
    # runs on it: measured ten times slower on two busy cores. Read by OpenMP when torch loads.
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")
    sys.exit(main(Path(sys.argv[1]), watched=True))
