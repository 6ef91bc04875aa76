"""The work of a Slurm job on its node: the same training, in the run's folder, which both machines see."""

from __future__ import annotations

import json
import os
import signal
import socket
from pathlib import Path

from tuneport import private
from tuneport.files import acquire_file_lock, write_atomically
from tuneport.heavy_imports import heavy_imports
from tuneport.run_protocol import LOG
from tuneport.train.child import prepare_training_environment, run_and_report
from tuneport.train.run.run_folder import TrainingRunFolder
from tuneport.train.run.stop import TrainingStop
from tuneport.train.slurm.clusters import SlurmSubmission, slurm_job_record_path


def run_slurm_training_work(folder: str, attempt: int) -> None:
    """Run the job. Its output goes to the run's log. submitit reports an exception; the run's own errors are in its
    state by then.

    Its name stays: submitit pickles it, and a job that waits in Slurm's queue may be of an earlier release."""
    path = Path(folder)
    run = TrainingRunFolder(path)
    submission = SlurmSubmission.of(path)
    if run.finished or submission is None or submission.attempt != attempt:
        return
    acquire_file_lock(path / "work.lock", wait=True)  # Slurm may start a job again that it believes dead
    job_id = os.environ.get("SLURM_JOB_ID") or os.environ.get("SUBMITIT_LOCAL_JOB_ID", "")
    record = {"job_id": job_id, "host": socket.gethostname()}
    write_atomically(slurm_job_record_path(path, attempt), json.dumps(record))
    log = os.open(path / LOG, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    for descriptor in (1, 2):
        os.dup2(log, descriptor)

    with heavy_imports():
        from tuneport.train.recipe import train

    run.read_state()
    stop = TrainingStop(run)
    signal.signal(signal.SIGUSR2, stop.on_signal)  # submitit has Slurm send it before a time limit or a preemption
    run.state.pop("waits", None)
    prepare_training_environment()
    run.log_event(f"Slurm job {job_id} has started on {socket.gethostname()}", type="slurm", job_id=job_id)
    os.umask(private.child_umask(path))  # of this process, which another machine may have started with its own
    code = run_and_report(run, stop, lambda: train(run, stop))
    write_atomically(slurm_job_record_path(path, attempt), json.dumps(record | {"exit_code": code}))
