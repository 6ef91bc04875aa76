"""A run that trains on a Slurm cluster. On the submitting machine `drive_slurm_job` submits the job and looks after it;
on a node the job runs `work`: the same training, in the same folder, which both machines see.

The job is submitted once, whichever process is killed when: the intent is written first, with a name by which the job
is found again, and a job that the file no longer intends does nothing. One that ends before its run does (a lost node,
a time limit, a preemption) is submitted anew and goes on from the newest checkpoint, three times without progress at
most. One side writes at a time: the driver until the job has started and once it is over.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable

from tuneport.files import write_atomically
from tuneport.run_protocol import AGAIN, LOG, RESTARTS, RESTARTS_WITHOUT_PROGRESS, STOPPED_FROM_OUTSIDE, RestartCounts
from tuneport.train.run.run_folder import TrainingRunFolder
from tuneport.train.slurm import clusters
from tuneport.train.slurm.clusters import (
    ClusterUnreachableError,
    SlurmJobState,
    SlurmSubmission,
    SubmissionError,
    TrainingJobCluster,
)
from tuneport.training_options import SlurmOptions
from tuneport.types import JobError, JobStatus

_SECONDS_UNTIL_LISTED = 10.0  # a job whose submitter was killed is sure to be listed by then
_SECONDS_TO_SEE_THE_END = 90.0  # a shared file system shows what a node wrote that much later, at worst
_SECONDS_TO_STOP = 15.0  # for a cancelled job; less than the canceller waits before it kills this process
_LONGEST_SECONDS_BETWEEN_LOOKS = 30.0


def drive_slurm_job(run: TrainingRunFolder, options: SlurmOptions, stop: Callable[[], bool]) -> None:
    """Drive the run. Returns once it is finished, or stopped and still to be marked. Raises what makes it
    impossible."""
    run.place.leave()
    cluster = clusters.open_slurm_cluster(options)
    submission = _settled(run, cluster, stop)
    while not stop():
        job_id = submission.job_id or _submit(run, cluster, submission, stop)
        if job_id is None:
            break
        last = _follow(run, cluster, job_id, stop)
        if run.finished or stop() or not _goes_on(run, job_id, last):
            break
        submission = _intend(run, submission.attempt + 1)
    run.read_state()
    if run.cancelled and not run.finished:
        _cancel(run, cluster)
    elif run.pause_requested and not run.finished:
        _await_pause(run, cluster)


def _settled(
    run: TrainingRunFolder,
    cluster: TrainingJobCluster,
    stop: Callable[[], bool],
    *,
    seconds_until_listed: float = _SECONDS_UNTIL_LISTED,
) -> SlurmSubmission:
    """Return the last submission of earlier drivers of this run, with its job's id; else what is to be submitted
    now."""
    submission = SlurmSubmission.of(run.path)
    if submission is None:
        return _intend(run, 1)
    if submission.job_id is not None:
        return submission
    job_id = _of_a_dead_driver(run, cluster, submission, stop, seconds_until_listed=seconds_until_listed)
    if job_id is None:
        return submission if stop() else _intend(run, submission.attempt + 1)
    return _written(run, submission, job_id)


def _submit(
    run: TrainingRunFolder, cluster: TrainingJobCluster, submission: SlurmSubmission, stop: Callable[[], bool]
) -> str | None:
    """Submit, and return the id of the new job. Returns None if `stop` came first."""
    while not stop():
        try:
            job_id = clusters.submit_slurm_job(run)
        except ClusterUnreachableError as error:
            _say_waits(run, f"waits for Slurm: {error}")
            found = _of_a_dead_driver(run, cluster, submission, stop)  # it may have come to be all the same
            if found is not None:
                return _written(run, submission, found).job_id
            _sleep(_LONGEST_SECONDS_BETWEEN_LOOKS, stop)
            continue
        run.read_state()
        run.log_event(f"Submitted to Slurm as job {job_id}", type="slurm", job_id=job_id, attempt=submission.attempt)
        return job_id
    return None


def _written(run: TrainingRunFolder, submission: SlurmSubmission, job_id: str) -> SlurmSubmission:
    found = SlurmSubmission(submission.attempt, submission.name, job_id)
    found.write(run.path)
    return found


def _intend(run: TrainingRunFolder, attempt: int) -> SlurmSubmission:
    submission = SlurmSubmission(attempt, f"tuneport-{run.run_id}-{attempt}")
    submission.write(run.path)
    return submission


def _of_a_dead_driver(
    run: TrainingRunFolder,
    cluster: TrainingJobCluster,
    submission: SlurmSubmission,
    stop: Callable[[], bool],
    *,
    seconds_until_listed: float = _SECONDS_UNTIL_LISTED,
) -> str | None:
    """Return the job that an earlier driver intended, if it exists. Waits for it as long as it may still appear."""
    ends = time.monotonic() + seconds_until_listed
    while not stop():
        written = SlurmSubmission.of(run.path)
        if written is not None and written.job_id is not None:
            return written.job_id
        if clusters.slurm_submission_runs(run.path):
            ends = time.monotonic() + seconds_until_listed
        else:
            try:
                if found := cluster.find_job_id(run.path, submission):
                    return found
            except ClusterUnreachableError as error:
                _say_waits(run, f"waits for Slurm: {error}")
                ends = time.monotonic() + seconds_until_listed
            if time.monotonic() >= ends:
                return None
        _sleep(1.0, stop)
    return None


def _follow(
    run: TrainingRunFolder, cluster: TrainingJobCluster, job_id: str, stop: Callable[[], bool]
) -> SlurmJobState:
    """Watch the job until it is over or `stop`. Returns the cluster's last status of it, with the state read again."""
    seconds = cluster.seconds_between_looks
    answer = SlurmJobState(True, True, "")
    while not stop():
        try:
            answer = cluster.job_state(job_id)
        except ClusterUnreachableError as error:
            print(error, file=sys.stderr, flush=True)
        if not answer.active:
            break
        if answer.waits and answer.reason in clusters.NEVER_STARTS:
            cluster.cancel(job_id)
            raise SubmissionError(
                f"Slurm would never start the job, which asks for more than it may ({answer.reason}); "
                f"{clusters.WHAT_TO_DO}"
            )
        if answer.waits:
            why = f" ({answer.reason})" if answer.reason else ""
            _say_waits(run, f"waits in Slurm as job {job_id}: {answer.word}{why}")
        _sleep(seconds, stop)
        seconds = min(seconds * 1.2, _LONGEST_SECONDS_BETWEEN_LOOKS)
    ends = time.monotonic() + (_SECONDS_TO_SEE_THE_END if answer.word == "COMPLETED" else 0.0)
    run.read_state()
    while not (run.finished or stop() or _exit_code(run) is not None) and time.monotonic() < ends:
        _sleep(1.0, stop)
        run.read_state()
    return answer


def _exit_code(run: TrainingRunFolder) -> int | None:
    """Return the exit code that the job of the newest attempt wrote, or None if it did not get that far."""
    submission = SlurmSubmission.of(run.path)
    try:
        record = json.loads(
            clusters.slurm_job_record_path(run.path, 0 if submission is None else submission.attempt).read_bytes()
        )
    except FileNotFoundError:
        return None
    code = record.get("exit_code")
    return None if code is None else int(code)


def _say_waits(run: TrainingRunFolder, waits: str) -> None:
    """Report that the job waits, until it starts: afterwards only the job writes the state."""
    submission = SlurmSubmission.of(run.path)
    if submission is None or not clusters.slurm_job_record_path(run.path, submission.attempt).exists():
        run.read_state()
        if not run.finished and (run.state["status"], run.state.get("waits")) != (JobStatus.QUEUED, waits):
            run.update(status=JobStatus.QUEUED, waits=waits)


def _goes_on(run: TrainingRunFolder, job_id: str, last: SlurmJobState) -> bool:
    """Return whether a run whose job ended continues in a new one, or has failed: counted as the parent counts deaths
    of trainers, and in the same file."""
    print(clusters.read_slurm_logs(run.path, job_id), file=sys.stderr, flush=True)
    path = run.path / RESTARTS
    try:
        counted = RestartCounts.model_validate_json(path.read_bytes())
    except (OSError, ValueError):
        counted = RestartCounts()
    step = run.newest_checkpoint_step()
    counted = counted.as_of_checkpoint(step)
    how = last.word or "an end that the cluster does not tell"
    if _exit_code(run) == STOPPED_FROM_OUTSIDE:
        how = "a warning of its time limit or of a preemption"
    if _exit_code(run) == AGAIN:
        how = "the need to start again (with fewer rows at once, or from an older checkpoint)"
    if counted.without_progress >= RESTARTS_WITHOUT_PROGRESS:
        message = (
            f"the Slurm job ended {counted.without_progress + 1} times without getting further, the last time with "
            f"{how}; look at {run.path / LOG} and at the job's limits (slurm: timeout_min, mem_gb)"
        )
        run.log_event(message, level="error")
        run.finish(
            JobStatus.FAILED, error=JobError(code="process_died", message=message, fault="provider", retryable=True)
        )
        return False
    counted.total += 1
    counted.without_progress += last.word != "PREEMPTED"
    write_atomically(path, counted.model_dump_json())
    where = f"step {step}" if step else "the beginning"
    run.log_event(
        f"Slurm job {job_id} ended with {how}; submitting it again from {where}", level="warning", type="restart"
    )
    return True


def _cancel(run: TrainingRunFolder, cluster: TrainingJobCluster) -> None:
    """End the job, and give it the time to report that itself."""
    submission = SlurmSubmission.of(run.path)
    if submission is None:
        return
    ends = time.monotonic() + _SECONDS_TO_STOP
    try:
        job_id = submission.job_id or cluster.find_job_id(run.path, submission)
        while job_id is not None and time.monotonic() < ends:
            cluster.cancel(job_id)
            if not cluster.job_state(job_id).active:
                break
            time.sleep(min(1.0, cluster.seconds_between_looks))
    except ClusterUnreachableError as error:  # the job sees the file `cancel` and ends by itself
        print(error, file=sys.stderr, flush=True)
    run.read_state()


def _await_pause(run: TrainingRunFolder, cluster: TrainingJobCluster) -> None:
    """Wait until the job, which sees the file `pause` too, has made its checkpoint; a job that has not started is
    withdrawn."""
    submission = SlurmSubmission.of(run.path)
    try:
        job_id = None if submission is None else submission.job_id or cluster.find_job_id(run.path, submission)
        while job_id is not None and (answer := cluster.job_state(job_id)).active and not run.cancelled:
            if answer.waits:
                cluster.cancel(job_id)
            time.sleep(min(1.0, cluster.seconds_between_looks))
    except ClusterUnreachableError as error:
        print(error, file=sys.stderr, flush=True)
    run.read_state()


def _sleep(seconds: float, stop: Callable[[], bool]) -> None:
    ends = time.monotonic() + seconds
    while (left := ends - time.monotonic()) > 0 and not stop():
        time.sleep(min(left, 0.5))
