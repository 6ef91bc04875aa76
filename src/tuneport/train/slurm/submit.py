"""Submits a run's job to its cluster, with submitit: `python -m tuneport.train.slurm.submit RUN_FOLDER`.

It is a process of its own, which records the job's id itself: the process that started it may be killed at any moment
without leaving an unknown job behind.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tuneport.files import acquire_file_lock
from tuneport.train.run.run_folder import TrainingRunFolder
from tuneport.train.slurm.clusters import SlurmSubmission
from tuneport.train.slurm.work import run_slurm_training_work
from tuneport.training_options import SlurmOptions, TrainingOptions


def submit_training_to_slurm(folder: Path) -> None:
    import submitit

    acquire_file_lock(folder / "submit.lock", wait=True)  # until this process ends
    submission = SlurmSubmission.of(folder)
    assert submission is not None
    if submission.job_id is not None:
        return
    options = TrainingOptions.parse(TrainingRunFolder(folder).spec.provider_options).slurm or SlurmOptions()
    executor = submitit.AutoExecutor(folder / "slurm", cluster=options.cluster)
    executor.update_parameters(**_parameters(options, submission.name))
    with _no_parent_output(options):
        job = executor.submit(run_slurm_training_work, str(folder), submission.attempt)
    SlurmSubmission(submission.attempt, submission.name, str(job.job_id)).write(folder)


@contextlib.contextmanager
def _no_parent_output(options: SlurmOptions) -> Iterator[None]:
    """Close our output in a process that submitit starts on this machine: it would inherit it, and keep its reader
    waiting."""
    if options.cluster != "local":
        yield
        return
    kept = os.dup(1), os.dup(2)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 1), os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept[0], 1), os.dup2(kept[1], 2)
        for descriptor in (*kept, nowhere):
            os.close(descriptor)


def _parameters(options: SlurmOptions, name: str) -> dict[str, Any]:
    """Return the options as submitit names them. It leaves out those that are None."""
    return {
        "name": name,
        "timeout_min": options.timeout_min,
        "gpus_per_node": options.gpus_per_node or None,
        "cpus_per_task": options.cpus_per_task,
        "mem_gb": options.mem_gb,
        "nodes": 1,
        "tasks_per_node": 1,
        "slurm_partition": options.partition,
        "slurm_account": options.account,
        "slurm_qos": options.qos,
        "slurm_constraint": options.constraint,
        "slurm_setup": options.setup,
        "slurm_signal_delay_s": options.warning_seconds,
        "slurm_additional_parameters": options.sbatch,
    }


if __name__ == "__main__":
    submit_training_to_slurm(Path(sys.argv[1]))
