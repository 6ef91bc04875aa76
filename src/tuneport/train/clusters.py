"""What a cluster says of a job, and how to have one there: Slurm, and this machine in its place (`local`).

Submitting is submitit's. It is done in a process of its own, which writes the job's id down itself: whoever started it
may be killed at any moment without a job being there that nobody knows of.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NoReturn, Protocol

from tuneport.errors import ConfigError, TuneportError
from tuneport.train.run_folder import RunFolder, write_aside
from tuneport.training_options import SlurmOptions

_ACTIVE = frozenset(
    "PENDING CONFIGURING RUNNING SUSPENDED COMPLETING REQUEUED REQUEUE_FED REQUEUE_HOLD RESIZING RESV_DEL_HOLD "
    "SIGNALING SPECIAL_EXIT STAGE_OUT STOPPED".split()
)
_NOT_STARTED = frozenset("PENDING CONFIGURING REQUEUED REQUEUE_FED REQUEUE_HOLD RESV_DEL_HOLD SPECIAL_EXIT".split())
NEVER_STARTS = frozenset("PartitionTimeLimit PartitionNodeLimit BadConstraints InvalidAccount InvalidQOS".split())
"""Slurm's reasons why a job waits that no waiting ends."""

WHAT_TO_DO = "correct backends.local.options.slurm in tuneport.toml, or the option slurm, and submit again"
_COMMAND_SECONDS = 120.0
_LOG_CHARACTERS = 4000


class ClusterUnreachableError(TuneportError):
    """The cluster does not answer now; it may in a minute."""


class SubmissionError(ConfigError):
    """The cluster refuses the job as it is."""


@dataclass(frozen=True)
class Submission:
    """`slurm.json`: the intent before the job is submitted, and again with its id. A job of an older attempt than the
    file's does nothing, however late it starts."""

    attempt: int
    name: str
    job_id: str | None = None

    @classmethod
    def of(cls, run: Path) -> Submission | None:
        try:
            return cls(**json.loads((run / "slurm.json").read_bytes()))
        except FileNotFoundError:
            return None

    def write(self, run: Path) -> None:
        write_aside(run / "slurm.json", json.dumps(asdict(self)))


@dataclass(frozen=True)
class JobAnswer:
    """`word` is the cluster's own, such as RUNNING or NODE_FAIL; empty where it has forgotten the job."""

    active: bool
    waits: bool
    word: str
    reason: str = ""


class Cluster(Protocol):
    seconds_between_looks: float

    def find(self, run: Path, submission: Submission) -> str | None:
        """The id of a job that was submitted by somebody who died before he could write it down."""

    def look(self, job_id: str) -> JobAnswer: ...

    def cancel(self, job_id: str) -> None: ...


class Slurm:
    """By squeue and scancel, which need no accounting database."""

    seconds_between_looks = 2.0

    def find(self, run: Path, submission: Submission) -> str | None:
        ids = _slurm("squeue", "--noheader", "--me", "--states=all", f"--name={submission.name}", "--format=%i")
        return ids.split()[0] if ids.split() else None

    def look(self, job_id: str) -> JobAnswer:
        try:
            said = _slurm("squeue", "--noheader", "--states=all", f"--jobs={job_id}", "--format=%T|%r")
        except SubmissionError:  # "Invalid job id": it ended some minutes ago
            return JobAnswer(False, False, "")
        word, _, reason = (said.splitlines() or [""])[0].strip().partition("|")
        return JobAnswer(word in _ACTIVE, word in _NOT_STARTED, word, "" if reason == "None" else reason)

    def cancel(self, job_id: str) -> None:
        with contextlib.suppress(SubmissionError):  # it has ended
            _slurm("scancel", job_id)


class ThisMachine:
    """submitit's local executor: a job is a process here, its id the process's. For trying things out without Slurm."""

    seconds_between_looks = 0.2

    def find(self, run: Path, submission: Submission) -> str | None:
        """What the job wrote of itself when it started."""
        with contextlib.suppress(FileNotFoundError):
            return str(json.loads(job_record(run, submission.attempt).read_bytes())["job_id"])
        return None

    def look(self, job_id: str) -> JobAnswer:
        command = _output("ps", "-o", "state=,args=", "-p", job_id)
        active = "submitit" in command and not command.startswith("Z")
        return JobAnswer(active, False, "RUNNING" if active else "")

    def cancel(self, job_id: str) -> None:
        if self.look(job_id).active:
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(job_id), signal.SIGINT)


def cluster_of(options: SlurmOptions) -> Cluster:
    return ThisMachine() if options.cluster == "local" else Slurm()


def job_record(run: Path, attempt: int) -> Path:
    """What the job of that attempt writes when it starts."""
    return run / "slurm" / f"attempt-{attempt}.json"


def logs(run: Path, job_id: str) -> str:
    """The end of what submitit and Slurm wrote about a job, beside what the trainer itself writes to log.txt."""
    texts = [path.read_text(errors="replace") for path in sorted((run / "slurm").glob(f"{job_id}_*log.*"))]
    return "\n".join(texts)[-_LOG_CHARACTERS:]


def submit(run: RunFolder) -> str:
    """Submit what `slurm.json` intends, and return the job's id. SubmissionError where the cluster refuses,
    ClusterUnreachableError where it does not answer, and then the job may or may not be there."""
    done = subprocess.run(
        [sys.executable, "-m", "tuneport.train.clusters", str(run.path)],
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        start_new_session=True,  # a job on this machine is not to die with whoever submitted it
    )
    print(done.stderr, end="", file=sys.stderr, flush=True)
    submission = Submission.of(run.path)
    if submission is not None and submission.job_id is not None:
        return submission.job_id
    _raise_for(done.stderr, "sbatch")


def is_being_submitted(run: Path) -> bool:
    descriptor = os.open(run / "submit.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def _submit_here(folder: Path) -> None:
    import submitit

    from tuneport.train.on_slurm import work
    from tuneport.training_options import TrainingOptions

    descriptor = os.open(folder / "submit.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    submission = Submission.of(folder)
    assert submission is not None
    if submission.job_id is not None:
        return
    options = TrainingOptions.of(RunFolder(folder).spec.provider_options).slurm or SlurmOptions()
    executor = submitit.AutoExecutor(folder / "slurm", cluster=options.cluster)
    executor.update_parameters(**_parameters(options, submission.name))
    with _no_parent_output(options):
        job = executor.submit(work, str(folder), submission.attempt)
    Submission(submission.attempt, submission.name, str(job.job_id)).write(folder)


@contextlib.contextmanager
def _no_parent_output(options: SlurmOptions) -> Iterator[None]:
    """A process that submitit starts on this machine inherits our output; nobody reads that to its end."""
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
    """In submitit's words; those that are None it leaves out."""
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


def _slurm(*command: str) -> str:
    """What a Slurm command prints. SubmissionError where it refuses, ClusterUnreachableError where it cannot ask."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_COMMAND_SECONDS)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ClusterUnreachableError(f"{command[0]} does not answer: {error}") from error
    if done.returncode != 0:
        _raise_for(done.stderr, command[0])
    return done.stdout


def _raise_for(stderr: str, command: str) -> NoReturn:
    said = next((line for line in reversed(stderr.strip().splitlines()) if line.strip()), "it says nothing")
    passing = ("unable to contact", "timed out", "connection refused", "communication connection", "too many")
    if any(words in stderr.lower() for words in passing):
        raise ClusterUnreachableError(f"{command} does not reach the cluster: {said}")
    refused = next((line for line in stderr.splitlines() if "error:" in line), said)
    raise SubmissionError(f"{command} refuses the job: {refused.strip()}; {WHAT_TO_DO}")


def _output(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True).stdout.strip()


if __name__ == "__main__":
    _submit_here(Path(sys.argv[1]))
