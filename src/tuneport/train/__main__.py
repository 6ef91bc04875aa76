"""`python -m tuneport.train RUN_FOLDER`: one fine-tuning run, from its request to its weights.

The parent made the folder with `run.json` and may die; this process goes on. Started again after a crash, it continues
from the newest checkpoint. The files `cancel` and `pause` stop it after its step. A pause, and a SIGTERM that nobody
asked for (a reboot, say), make a checkpoint of that step first. Out of memory in a step, it becomes a new process that
goes on with fewer rows at once. A run whose folder was deleted ends, too, and writes nothing more.
Exit codes: 0 done, cancelled or paused, 1 failed (state.json says why), 66 the folder is gone, 75 another child has it,
143 stopped and to go on, 79 out of memory and to go on at once.
"""

from __future__ import annotations

import os
import signal
import sys
import traceback
from collections.abc import Callable
from pathlib import Path

from tuneport.train import watchdog
from tuneport.train.launch import RankDiedError, RankFailedError, launch
from tuneport.train.run_folder import ANOTHER_CHILD_LIVES, RunFolder
from tuneport.train.stop import Stop
from tuneport.training_options import SlurmOptions, TrainingOptions
from tuneport.types import JobError, JobStatus

STOPPED_FROM_OUTSIDE = 128 + signal.SIGTERM
AGAIN_WITH_FEWER_ROWS = 79
FOLDER_GONE = 66  # EX_NOINPUT


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
    options = TrainingOptions.of(run.spec.provider_options)
    match options.executor:
        case "process":
            return train_and_tell(run, stop, lambda: _train_here(run, options, stop))
        case "ray":
            return train_and_tell(run, stop, lambda: _train_on_ray(run, options, stop))
        case "slurm":
            return train_and_tell(run, stop, lambda: _train_on_slurm(run, options, stop), writes=False)


def _train_here(run: RunFolder, options: TrainingOptions, stop: Stop) -> None:
    with run.devices(options.workers, stop) as devices:
        if devices is None or stop():
            return
        workers = options.workers if devices == ("cpu",) and options.workers != "auto" else len(devices)
        if workers > 1:
            launch(run, workers, stop)
            return
        # Heavy imports come late, so that a run which waits for the device holds no memory.
        from tuneport.train.recipe import train

        train(run, stop)


def _train_on_ray(run: RunFolder, options: TrainingOptions, stop: Stop) -> None:
    from tuneport.train.on_ray import drive

    if os.environ.get("RAY_ADDRESS"):
        run.place.leave()
        drive(run, stop)
        return
    with run.devices(options.workers, stop):  # a cluster of our own has this machine's devices, like any other run
        drive(run, stop)


def _train_on_slurm(run: RunFolder, options: TrainingOptions, stop: Stop) -> None:
    from tuneport.train.on_slurm import drive

    drive(run, options.slurm or SlurmOptions(), stop)


def train_and_tell(run: RunFolder, stop: Stop, train: Callable[[], None], *, writes: bool = True) -> int:
    """Call `train`, mark in the run's state what it leaves to be marked, and return this process's exit code.

    `writes`: whether the checkpoints and weights are written by this process, not by one that it looks after.
    """
    if writes:
        run.clear_working()
    try:
        train()
    except RankDiedError as error:
        print(error, flush=True)
        if not stop():
            return 1
    except Exception as error:
        if run.gone:
            return FOLDER_GONE
        failure = error.failure if isinstance(error, RankFailedError) else _told(run, error)
        if failure is None:
            return AGAIN_WITH_FEWER_ROWS
        if writes:
            run.clear_working()
        if failure.code == "no_disk_space":
            run.keep_only_newest(run.state.get("best_step"))  # or there may be no room to say what happened
        run.event(failure.message, level="error")
        run.finish(JobStatus.FAILED, error=failure)
        return 1
    if run.gone:
        return FOLDER_GONE
    if not run.finished:
        if writes:
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


def _told(run: RunFolder, error: Exception) -> JobError | None:
    """What to tell of an error of this process; None where it is to begin anew, with fewer rows at once."""
    traceback.print_exc()
    from tuneport.train.failures import job_error
    from tuneport.train.memory_retry import SmallerBatchNeededError

    if not isinstance(error, SmallerBatchNeededError):
        return job_error(error)
    run.clear_working()
    run.event(str(error), level="warning", type="memory")
    run.note(str(error))
    run.update(micro_batch_limit=error.smaller)
    return None


def prepare_environment() -> None:
    """Before torch is imported."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    # Threads that wait for each other by spinning take the processor from those they wait for as soon as anything else
    # runs on it: measured ten times slower on two busy cores. Read by OpenMP when torch loads.
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")


def start() -> None:
    """The whole life of this process: `main` on its argument; anew where memory was short."""
    if len(sys.argv) != 2:
        sys.exit("usage: python -m tuneport.train RUN_FOLDER")
    prepare_environment()
    code = main(Path(sys.argv[1]), watched=True)
    if code == AGAIN_WITH_FEWER_ROWS:
        sys.stdout.flush()
        sys.stderr.flush()
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])  # the same pid: to the parent nothing changes
    sys.exit(code)


if __name__ == "__main__":
    start()
