"""`python -m tuneport.train RUN_FOLDER`: one fine-tuning run, from its request to its weights.

The parent made the folder with `run.json` and may die; this process goes on. Started again after a crash, it continues
from the newest checkpoint, and so it does after a SIGTERM that nobody asked for by the file `cancel`: a reboot, say.
Exit codes: 0 done or cancelled, 1 failed (state.json says why), 75 another child has it, 143 stopped and to go on.
"""

from __future__ import annotations

import os
import signal
import sys
import traceback
from pathlib import Path

from tuneport.train.launch import RankDiedError, RankFailedError, launch
from tuneport.train.run_folder import ANOTHER_CHILD_LIVES, RunFolder
from tuneport.train.stop import Stop
from tuneport.training_options import TrainingOptions
from tuneport.types import JobStatus

STOPPED_FROM_OUTSIDE = 128 + signal.SIGTERM


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
        if TrainingOptions.of(run.spec.provider_options).executor == "ray":
            from tuneport.train.on_ray import drive

            drive(run, stop)
        else:
            with run.device(stop) as taken:
                if taken and not stop():
                    _train(run, stop)
    except RankDiedError as error:
        print(error, flush=True)
        return 1
    except Exception as error:
        if isinstance(error, RankFailedError):
            failure = error.failure
        else:
            traceback.print_exc()
            from tuneport.train.failures import job_error

            failure = job_error(error)
        run.clear_working()
        run.event(failure.message, level="error")
        run.finish(JobStatus.FAILED, error=failure)
        return 1
    if not run.finished:
        run.clear_working()
        if not run.cancelled:
            run.event("Stopped by the system; the run goes on when it is next looked at", level="warning")
            return STOPPED_FROM_OUTSIDE
        run.event("Fine-tuning job cancelled")
        run.finish(JobStatus.CANCELLED)
    return 0


def _train(run: RunFolder, stop: Stop) -> None:
    workers = TrainingOptions.of(run.spec.provider_options).workers
    if workers == "auto":
        import torch

        workers = torch.cuda.device_count() or 1
    if workers > 1:
        launch(run, workers)
        return
    os.environ.setdefault("CUDA_VISIBLE_DEVICES", "0")  # TRL refuses to see more from one process
    # Heavy imports come late, so that a run which waits for the device holds no memory.
    from tuneport.train.recipe import train

    train(run, stop)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python -m tuneport.train RUN_FOLDER")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    # Threads that wait for each other by spinning take the processor from those they wait for as soon as anything else
    # runs on it: measured ten times slower on two busy cores. Read by OpenMP when torch loads.
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")
    sys.exit(main(Path(sys.argv[1])))
