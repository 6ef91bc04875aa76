"""Reports the end of a process that trains: the run's state, its events and the exit code.

`python -m tuneport.train` and a job on a Slurm node both end through `run_and_report`.
"""

from __future__ import annotations

import os
import traceback
from collections.abc import Callable

from tuneport.run_protocol import AGAIN, FOLDER_GONE, STOPPED_FROM_OUTSIDE
from tuneport.train.launch import RankDiedError, RankFailedError
from tuneport.train.run.run_folder import TrainingRunFolder
from tuneport.train.run.stop import TrainingStop
from tuneport.types import JobError, JobStatus


def run_and_report(
    run: TrainingRunFolder, stop: TrainingStop, train: Callable[[], None], *, writes: bool = True
) -> int:
    """Call `train`, mark in the run's state what it leaves to be marked, and return this process's exit code.

    `writes`: whether this process writes the checkpoints and weights, rather than one that it looks after.
    """
    if writes:
        run.clear_partial_folder()
    try:
        train()
    except RankDiedError as error:
        print(error, flush=True)
        if not stop():
            return 1
    except Exception as error:
        if run.folder_deleted:
            return FOLDER_GONE
        failure = error.failure if isinstance(error, RankFailedError) else _failure(run, error)
        if failure is not None and failure.code == "unusable_checkpoint":
            failure = _from_an_older_checkpoint(run, failure)
        if failure is None:
            return AGAIN
        if writes:
            run.clear_partial_folder()
        if failure.code == "no_disk_space":
            run.keep_newest_checkpoint(run.state.get("best_step"))  # or there may be no room to say what happened
        run.log_event(failure.message, level="error")
        run.finish(JobStatus.FAILED, error=failure)
        return 1
    if run.folder_deleted:
        return FOLDER_GONE
    if not run.finished:
        if writes:
            run.clear_partial_folder()
        if stop.paused and not run.cancelled:
            run.log_event(f"Paused at step {run.newest_checkpoint_step()}", type="pause")
            run.update(status=JobStatus.PAUSED)
            return 0
        if not run.cancelled:
            run.log_event("Stopped by the system; the run continues at the next poll", level="warning")
            return STOPPED_FROM_OUTSIDE
        run.log_event("Fine-tuning job cancelled")
        run.finish(JobStatus.CANCELLED)
    return 0


def _from_an_older_checkpoint(run: TrainingRunFolder, failure: JobError) -> JobError | None:
    """Give up the checkpoint that could not be loaded. Returns None if the run is to restart from an older one."""
    from tuneport.train.run.checkpoint_integrity import CheckpointsDamagedError, discard_training_checkpoint
    from tuneport.train.run.failures import training_job_error

    try:
        discard_training_checkpoint(run, int(failure.param or 0), failure.message)
    except CheckpointsDamagedError as error:
        return training_job_error(error)
    return None


def _failure(run: TrainingRunFolder, error: Exception) -> JobError | None:
    """Return the report of this process's error, or None if it is to restart with fewer rows at once."""
    traceback.print_exc()
    from tuneport.train.run.failures import training_job_error
    from tuneport.train.speed.memory_retry import SmallerBatchNeededError

    if not isinstance(error, SmallerBatchNeededError):
        return training_job_error(error)
    run.clear_partial_folder()
    run.log_event(str(error), level="warning", type="memory")
    run.note(str(error))
    run.update(micro_batch_limit=error.smaller)
    return None


def prepare_training_environment() -> None:
    """Set what libraries read when they load. Call it before torch is imported."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    # Threads that wait for each other by spinning take the processor from those they wait for as soon as anything else
    # runs on it: measured ten times slower on two busy cores. Read by OpenMP when torch loads.
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")
