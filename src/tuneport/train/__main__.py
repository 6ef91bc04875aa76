"""`python -m tuneport.train RUN_FOLDER`: one fine-tuning run, from its request to its weights.

The parent made the folder with `run.json` and may die; this process goes on. Started again after a crash, it continues
from the newest checkpoint. The files `cancel` and `pause` stop it after its step. A pause, and a SIGTERM that nobody
asked for (a reboot, say), make a checkpoint of that step first. Out of memory in a step, it becomes a new process that
goes on with fewer rows at once.
Exit codes: 0 done, cancelled or paused, 1 failed (state.json says why), 75 another child has it, 143 stopped and to go
on, 79 out of memory and to go on at once.
"""

from __future__ import annotations

import os
import signal
import sys
import traceback
from pathlib import Path
from types import FrameType

from tuneport.train.run_folder import ANOTHER_CHILD_LIVES, RunFolder
from tuneport.types import JobStatus

STOPPED_FROM_OUTSIDE = 128 + signal.SIGTERM
AGAIN_WITH_FEWER_ROWS = 79


class Stop:
    """Becomes true for good once the run is to stop: SIGTERM, or the file `cancel` or `pause`.

    `paused`: whether a pause was asked for, though somebody may have taken it back meanwhile.
    """

    def __init__(self, run: RunFolder) -> None:
        self.run, self.signalled, self.paused = run, False, False
        signal.signal(signal.SIGTERM, self._on_signal)

    def __call__(self) -> bool:
        self.paused = self.paused or self.run.pause_asked
        return self.signalled or self.paused or self.run.cancelled

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self.signalled = True


def main(folder: Path) -> int:
    run = RunFolder(folder)
    if not run.lock():
        return ANOTHER_CHILD_LIVES
    try:
        return 0 if run.finished else _run(run)
    finally:
        run.unlock()


def _run(run: RunFolder) -> int:
    stop = Stop(run)
    run.clear_working()
    try:
        with run.device(stop) as taken:
            if taken and not stop():
                # Heavy imports come late, so that a run which waits for the device holds no memory.
                from tuneport.train.recipe import train

                train(run, stop)
    except Exception as error:
        traceback.print_exc()
        from tuneport.train.failures import job_error
        from tuneport.train.memory_retry import SmallerBatchNeededError

        if isinstance(error, SmallerBatchNeededError):
            run.clear_working()
            run.event(str(error), level="warning", type="memory")
            run.note(str(error))
            run.update(micro_batch_limit=error.smaller)
            return AGAIN_WITH_FEWER_ROWS
        failure = job_error(error)
        run.clear_working()
        if failure.code == "no_disk_space":
            run.keep_only_newest(run.state.get("best_step"))  # or there may be no room to say what happened
        run.event(failure.message, level="error")
        run.finish(JobStatus.FAILED, error=failure)
        return 1
    if not run.finished:
        run.clear_working()
        if stop.paused and not run.cancelled:
            run.event(f"Paused at step {run.newest_step()}", type="pause")
            run.update(status=JobStatus.PAUSED)
            return 0
        if not run.cancelled:
            run.event("Stopped by the system; the run goes on when it is next looked at", level="warning")
            return STOPPED_FROM_OUTSIDE
        run.event("Fine-tuning job cancelled")
        run.finish(JobStatus.CANCELLED)
    return 0


def start() -> None:
    """The whole life of this process: `main` on its argument; anew where memory was short."""
    if len(sys.argv) != 2:
        sys.exit("usage: python -m tuneport.train RUN_FOLDER")
    os.environ.setdefault("CUDA_VISIBLE_DEVICES", "0")  # a run uses one GPU; TRL refuses to see more from one process
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    # Threads that wait for each other by spinning take the processor from those they wait for as soon as anything else
    # runs on it: measured ten times slower on two busy cores. Read by OpenMP when torch loads.
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")
    code = main(Path(sys.argv[1]))
    if code == AGAIN_WITH_FEWER_ROWS:
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])  # the same pid: to the parent nothing changes
    sys.exit(code)


if __name__ == "__main__":
    start()
