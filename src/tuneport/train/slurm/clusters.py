"""Clusters, which take jobs and report on them: Slurm, and this machine in its place (`local`).

Submitting is submitit's. It is done in a process of its own, which records the job's id itself: the process that
started it may be killed at any moment without leaving an unknown job behind.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NoReturn, Protocol

from tuneport.errors import ConfigError, TuneportError
from tuneport.files import hold_file_lock, write_atomically
from tuneport.run_protocol import SLURM
from tuneport.train.run.run_folder import TrainingRunFolder
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
class SlurmSubmission:
    """`slurm.json`: the intent before the job is submitted, and again with its id. A job of an older attempt than the
    file's does nothing, however late it starts."""

    attempt: int
    name: str
    job_id: str | None = None

    @classmethod
    def of(cls, run: Path) -> SlurmSubmission | None:
        try:
            return cls(**json.loads((run / SLURM).read_bytes()))
        except FileNotFoundError:
            return None

    def write(self, run: Path) -> None:
        write_atomically(run / SLURM, json.dumps(asdict(self)))


@dataclass(frozen=True)
class SlurmJobState:
    """`word` is the cluster's own, such as RUNNING or NODE_FAIL; empty if it has forgotten the job."""

    active: bool
    waits: bool
    word: str
    reason: str = ""


class TrainingJobCluster(Protocol):
    seconds_between_looks: float

    def find_job_id(self, run: Path, submission: SlurmSubmission) -> str | None:
        """Return the id of a job whose submitter died before it could record the id."""

    def job_state(self, job_id: str) -> SlurmJobState: ...

    def cancel(self, job_id: str) -> None: ...


class SlurmCluster:
    """Slurm by squeue and scancel, which need no accounting database."""

    seconds_between_looks = 2.0

    def find_job_id(self, run: Path, submission: SlurmSubmission) -> str | None:
        ids = _slurm("squeue", "--noheader", "--me", "--states=all", f"--name={submission.name}", "--format=%i")
        return ids.split()[0] if ids.split() else None

    def job_state(self, job_id: str) -> SlurmJobState:
        try:
            said = _slurm("squeue", "--noheader", "--states=all", f"--jobs={job_id}", "--format=%T|%r")
        except SubmissionError:  # "Invalid job id": it ended some minutes ago
            return SlurmJobState(False, False, "")
        word, _, reason = (said.splitlines() or [""])[0].strip().partition("|")
        return SlurmJobState(word in _ACTIVE, word in _NOT_STARTED, word, "" if reason == "None" else reason)

    def cancel(self, job_id: str) -> None:
        with contextlib.suppress(SubmissionError):  # it has ended
            _slurm("scancel", job_id)


class TrainingSlurmExecutor:
    """submitit's local executor: a job is a process here, its id the process's. For trying things out without Slurm."""

    seconds_between_looks = 0.2

    def find_job_id(self, run: Path, submission: SlurmSubmission) -> str | None:
        """Return the id that the job recorded when it started."""
        with contextlib.suppress(FileNotFoundError):
            return str(json.loads(slurm_job_record_path(run, submission.attempt).read_bytes())["job_id"])
        return None

    def job_state(self, job_id: str) -> SlurmJobState:
        command = _output("ps", "-o", "state=,args=", "-p", job_id)
        active = "submitit" in command and not command.startswith("Z")
        return SlurmJobState(active, False, "RUNNING" if active else "")

    def cancel(self, job_id: str) -> None:
        if self.job_state(job_id).active:
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(job_id), signal.SIGINT)


def open_slurm_cluster(options: SlurmOptions) -> TrainingJobCluster:
    return TrainingSlurmExecutor() if options.cluster == "local" else SlurmCluster()


def slurm_job_record_path(run: Path, attempt: int) -> Path:
    """Return the path of the record that the job of that attempt writes when it starts."""
    return run / "slurm" / f"attempt-{attempt}.json"


def read_slurm_logs(run: Path, job_id: str) -> str:
    """Return the end of what submitit and Slurm wrote about a job, beside what the trainer itself writes to log.txt."""
    texts = [path.read_text(errors="replace") for path in sorted((run / "slurm").glob(f"{job_id}_*log.*"))]
    return "\n".join(texts)[-_LOG_CHARACTERS:]


def submit_slurm_job(run: TrainingRunFolder) -> str:
    """Submit what `slurm.json` intends, and return the job's id.

    Raises SubmissionError if the cluster refuses, ClusterUnreachableError if it does not answer: then the job may or
    may not exist.
    """
    done = subprocess.run(
        [sys.executable, "-m", "tuneport.train.slurm.submit", str(run.path)],
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        start_new_session=True,  # a job on this machine must not die with its submitter
    )
    print(done.stderr, end="", file=sys.stderr, flush=True)
    submission = SlurmSubmission.of(run.path)
    if submission is not None and submission.job_id is not None:
        return submission.job_id
    _raise_for(done.stderr, "sbatch")


def slurm_submission_runs(run: Path) -> bool:
    with hold_file_lock(run / "submit.lock", wait=False) as mine:
        return not mine


def _slurm(*command: str) -> str:
    """Return what a Slurm command prints. Raises SubmissionError if it refuses, ClusterUnreachableError if it cannot
    ask."""
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
