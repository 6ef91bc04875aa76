"""`python -m tuneport.train RUN_FOLDER`: one fine-tuning run, from its request to its weights.

The parent made the folder with `run.json` and may die; this process goes on. Started again after a crash, it continues
from the newest checkpoint. The files `cancel` and `pause` stop it after its step. A pause, and a SIGTERM that no user
asked for (a reboot, say), make a checkpoint of that step first. Out of memory in a step, it becomes a new process that
goes on with fewer rows at once. A run whose folder was deleted ends, too, and writes nothing more.
Exit codes: 0 done, cancelled or paused, 1 failed (state.json says why), 66 the folder is gone, 75 another child has it,
143 stopped and to go on, 79 to go on at once in a new process: with fewer rows, or from an older checkpoint.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from tuneport.heavy_imports import heavy_imports
from tuneport.run_protocol import AGAIN, ANOTHER_CHILD_LIVES
from tuneport.train.child import prepare_training_environment, run_and_report
from tuneport.train.launch import launch_training_ranks
from tuneport.train.run import watchdog
from tuneport.train.run.run_folder import TrainingRunFolder
from tuneport.train.run.stop import TrainingStop
from tuneport.training_options import SlurmOptions, TrainingOptions


def train_run_folder(folder: Path, *, watched: bool = False) -> int:
    """Train the run in the folder. `watched`: this process, and all its group, may be killed if it does not stop by
    itself."""
    run = TrainingRunFolder(folder)
    if not run.lock():
        return ANOTHER_CHILD_LIVES
    run.report_phase("is up")
    if watched:
        watchdog.start_training_watchdog(run)
    try:
        return 0 if run.finished else _run(run)
    finally:
        run.unlock()


def _run(run: TrainingRunFolder) -> int:
    stop = TrainingStop(run)
    options = TrainingOptions.parse(run.spec.provider_options)
    match options.executor:
        case "process":
            return run_and_report(run, stop, lambda: _train_here(run, options, stop))
        case "ray":
            return run_and_report(run, stop, lambda: _train_on_ray(run, options, stop))
        case "slurm":
            return run_and_report(run, stop, lambda: _train_on_slurm(run, options, stop), writes=False)


def _train_here(run: TrainingRunFolder, options: TrainingOptions, stop: TrainingStop) -> None:
    run.report_phase("waits for a device")
    with run.claim_devices(options.workers, stop) as devices:
        if devices is None or stop():
            return
        run.report_phase("loads its libraries")
        workers = options.workers if devices == ("cpu",) and options.workers != "auto" else len(devices)
        if workers > 1:
            launch_training_ranks(run, workers, stop)
            return
        # Heavy imports come late, so that a run which waits for the device holds no memory.
        with stop.allow_immediate_stop(), heavy_imports():
            from tuneport.train.recipe import train

        train(run, stop)


def _train_on_ray(run: TrainingRunFolder, options: TrainingOptions, stop: TrainingStop) -> None:
    from tuneport.train.ray.driver import drive_ray_job

    if os.environ.get("RAY_ADDRESS"):
        run.place.leave()
        drive_ray_job(run, stop)
        return
    with run.claim_devices(options.workers, stop):  # a cluster of our own has this machine's devices, as any other run
        drive_ray_job(run, stop)


def _train_on_slurm(run: TrainingRunFolder, options: TrainingOptions, stop: TrainingStop) -> None:
    from tuneport.train.slurm.driver import drive_slurm_job

    drive_slurm_job(run, options.slurm or SlurmOptions(), stop)


def run_training_process() -> None:
    """Run this process's whole life: `train_run_folder` on its argument, and with fewer rows if memory ran out."""
    if len(sys.argv) != 2:
        sys.exit("usage: python -m tuneport.train RUN_FOLDER")
    prepare_training_environment()
    code = train_run_folder(Path(sys.argv[1]), watched=True)
    if code == AGAIN:
        sys.stdout.flush()
        sys.stderr.flush()
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])  # the same pid: to the parent nothing changes
    sys.exit(code)


if __name__ == "__main__":
    run_training_process()
