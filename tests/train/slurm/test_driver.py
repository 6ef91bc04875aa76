"""Runs that train as Slurm jobs, with submitit's local executor in the place of Slurm: real drivers, real jobs, killed
on the way. The last ones have a real Slurm of one node."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.system_packages import slurm_programs
from tests.support.tiny import busy_cpu, lines_of, make_run, state_of
from tests.support.waiting import until
from tuneport.backends.local.backend import LocalBackend
from tuneport.backends.local.runs import process as local_process
from tuneport.errors import ConfigError
from tuneport.installation import install_extra
from tuneport.manifests import load_manifest
from tuneport.settings import BackendSettings, ProjectFile, Settings
from tuneport.testing.contract import contract_job_token, prepared_chats
from tuneport.train.run.run_folder import TrainingRunFolder
from tuneport.train.slurm import clusters
from tuneport.train.slurm import driver as on_slurm
from tuneport.train.slurm.clusters import SlurmSubmission
from tuneport.train.slurm.work import run_slurm_training_work
from tuneport.types import Hyperparameters, JobState, JobStatus, TuneSpec

pytest.importorskip("submitit", reason="the executor slurm is an extra: pip install 'tuneport[slurm]'")


def opened(home: Path, **slurm: Any) -> LocalBackend:
    """As `tuneport.toml` may have it."""
    options = {"executor": "slurm", "slurm": {"gpus_per_node": 0, **slurm}}
    project = ProjectFile(backends={"local": BackendSettings(options=options)})
    return LocalBackend(load_manifest("local"), Settings(home=home, project=project))


def submit(backend: LocalBackend, model: Path, folder: Path, epochs: int = 10, **changes: Any) -> str:
    data = prepared_chats(folder)
    numbers = Hyperparameters(epochs=epochs, batch_size=4, lora_rank=2)
    spec = TuneSpec(model=str(model), dataset=data.training.path, seed=1, hyperparameters=numbers, **changes)
    return backend.submit(spec, list(backend.prepare(spec, data)), token=contract_job_token("slurm")).remote_id


def ended(backend: LocalBackend, run_id: str) -> JobState:
    state: JobState = until(lambda: (state := backend.fetch(run_id)).status.terminal and state)
    until(lambda: not backend._run(run_id).is_alive())
    return state


def worker_of(folder: Path) -> int:
    """The process that trains in the folder, not the one that looks after it."""
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            command = (process / "cmdline").read_bytes().decode().split("\0")
            if "submitit.core._submit" in command and str(folder / "slurm") in command:
                return int(process.name)
    return 0


def driver_of(folder: Path) -> int:
    return int((folder / "pid").read_text())


def said(folder: Path) -> list[str]:
    return [event["message"] for event in lines_of(folder / "events.jsonl")]


@pytest.fixture(autouse=True)
def nothing_is_left(home: Path) -> Iterator[None]:
    yield
    for folder in home.glob("runs/run-*"):
        with contextlib.suppress(OSError):
            os.kill(driver_of(folder), signal.SIGKILL)
        if pid := worker_of(folder):
            os.kill(pid, signal.SIGKILL)


@pytest.mark.full
def test_driver_and_job_are_killed_and_the_run_is_trained_once(home: Path, model: Path, tmp_path: Path) -> None:
    backend = opened(home, cluster="local")
    with busy_cpu(home).open("w") as busy:  # of this machine's devices it wants none
        fcntl.flock(busy, fcntl.LOCK_EX)
        run_id = submit(backend, model, tmp_path)
        folder = backend.runs.folder / run_id
        until(lambda: list(backend.checkpoints(run_id)))
        worker, driver = worker_of(folder), driver_of(folder)
        os.kill(worker, signal.SIGSTOP)
        first = backend.fetch(run_id).details["slurm_job"]

        os.kill(driver, signal.SIGKILL)
        until(lambda: local_process.local_run_process_start(driver) is None)
        until(lambda: backend.fetch(run_id) and driver_of(folder) != driver)
        assert backend.fetch(run_id).details["slurm_job"] == first and worker_of(folder) == worker, "attached again"
        assert sum("Submitted to Slurm" in message for message in said(folder)) == 1

        os.kill(worker, signal.SIGKILL)
        state = ended(backend, run_id)

    assert state.status is JobStatus.SUCCEEDED, (state, (folder / "log.txt").read_text())
    assert state.details["slurm_job"] != first and SlurmSubmission.of(folder).attempt == 2
    assert state.details["restarts"] == 2, "the driver's and the job's"
    assert [row["step"] for row in lines_of(folder / "metrics.jsonl")] == list(range(1, 31))
    told = said(folder)
    assert sum("has started on" in message for message in told) == 2
    assert any("going on from step" in message for message in told)
    assert any("submitting it again from step" in message for message in told)
    ids = [event["id"] for event in lines_of(folder / "events.jsonl")]
    assert len(ids) == len(set(ids))
    assert "train_runtime" in (folder / "log.txt").read_text(), "what the job prints"


@pytest.mark.full
def test_a_warned_job_goes_on_in_another_and_cancelling_ends_it(home: Path, model: Path, tmp_path: Path) -> None:
    backend = opened(home, cluster="local")
    run_id = submit(backend, model, tmp_path, epochs=2000)
    folder = backend.runs.folder / run_id
    until(lambda: list(backend.checkpoints(run_id)))
    warned = worker_of(folder)
    os.kill(warned, signal.SIGUSR2)  # what Slurm sends before a time limit
    until(lambda: any("going on from step" in message for message in said(folder)))
    assert any("ended with a warning of its time limit" in message for message in said(folder))
    assert local_process.local_run_process_start(warned) is None
    backend.cancel(run_id)
    assert ended(backend, run_id).status is JobStatus.CANCELLED
    until(lambda: worker_of(folder) == 0)
    assert state_of(folder)["status"] == "cancelled"


def test_a_job_that_ends_again_and_again_is_given_up(
    home: Path, model: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a cluster whose nodes cannot import the trainer."""
    folder = make_run(home, model, data, provider_options={"executor": "slurm", "slurm": {"cluster": "local"}})
    submitted: list[int] = []

    def ends_at_once(run: TrainingRunFolder) -> str:
        submission = SlurmSubmission.of(run.path)
        assert submission is not None and submission.job_id is None, "the intent comes first"
        submitted.append(submission.attempt)
        with subprocess.Popen(["true"]) as job:
            SlurmSubmission(submission.attempt, submission.name, str(job.pid)).write(run.path)
            return str(job.pid)

    monkeypatch.setattr(clusters, "submit_slurm_job", ends_at_once)
    run = TrainingRunFolder(folder)
    on_slurm.drive_slurm_job(run, clusters.SlurmOptions(cluster="local"), lambda: False)
    assert submitted == [1, 2, 3, 4]
    assert state_of(folder)["status"] == "failed" and state_of(folder)["error"]["code"] == "process_died"
    assert "ended 4 times without getting further" in said(folder)[-1]


def test_a_job_that_nobody_intends_any_more_does_nothing(home: Path, model: Path, data: Path) -> None:
    folder = make_run(home, model, data)
    SlurmSubmission(2, "tuneport-run-1-2").write(folder)
    run_slurm_training_work(str(folder), 1)
    assert not (folder / "state.json").exists() and not (folder / "slurm").exists()


@pytest.mark.parametrize("came_to_be", [True, False])
def test_an_intent_without_a_job_is_settled_first(home: Path, model: Path, data: Path, came_to_be: bool) -> None:
    """The driver was killed between the intent and the id of its job, which was submitted, or was not."""
    folder = make_run(home, model, data)
    SlurmSubmission(1, "tuneport-run-1-1").write(folder)
    if came_to_be:
        (folder / "slurm").mkdir()
        clusters.slurm_job_record_path(folder, 1).write_text(json.dumps({"job_id": "4711"}))
    cluster = clusters.TrainingSlurmExecutor()
    settled = on_slurm._settled(TrainingRunFolder(folder), cluster, lambda: False, seconds_until_listed=0.1)
    found, anew = SlurmSubmission(1, "tuneport-run-1-1", "4711"), SlurmSubmission(2, "tuneport-run-1-2")
    assert settled == SlurmSubmission.of(folder) == (found if came_to_be else anew)


def test_where_there_is_no_slurm_it_is_said_at_once(
    home: Path, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ConfigError, match="sbatch is not on the PATH"):
        submit(opened(home), model, tmp_path)
    with pytest.raises(ConfigError, match=r"provider_options.slurm is .*'pratition'.*partition"):
        submit(opened(home), model, tmp_path, provider_options={"slurm": {"pratition": "gpu"}})
    monkeypatch.setattr("importlib.util.find_spec", lambda name, package=None: None if name == "submitit" else True)
    with pytest.raises(ConfigError, match=re.escape(install_extra("slurm"))):
        submit(opened(home), model, tmp_path)


# --- a real Slurm of one node -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def slurm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """munged, slurmctld and slurmd of this test's own, on loopback."""
    if slurm_programs() is None:
        pytest.skip("slurmctld, slurmd and munged are not installed: python -m tests.support.system_packages")
    if os.geteuid() != 0:
        pytest.skip("a Slurm of one's own needs root")
    folder = Path(f"/tmp/tuneport-slurm-{os.getpid()}")  # short: paths of sockets are
    folder.mkdir(mode=0o755)
    (folder / "state").mkdir()
    (folder / "spool").mkdir()
    (folder / "munge.key").write_bytes(os.urandom(256))
    (folder / "munge.key").chmod(0o400)
    ports = [free_port(), free_port()]
    host = socket.gethostname().split(".")[0]
    (folder / "cgroup.conf").write_text("CgroupPlugin=disabled\n")
    (folder / "slurm.conf").write_text(
        f"ClusterName=tuneport\nSlurmctldHost={host}(127.0.0.1)\nSlurmctldPort={ports[0]}\nSlurmdPort={ports[1]}\n"
        f"SlurmUser=root\nAuthType=auth/munge\nAuthInfo=socket={folder}/munge.socket\nCredType=cred/munge\n"
        f"StateSaveLocation={folder}/state\nSlurmdSpoolDir={folder}/spool\n"
        f"SlurmctldPidFile={folder}/slurmctld.pid\nSlurmdPidFile={folder}/slurmd.pid\n"
        f"SlurmctldLogFile={folder}/slurmctld.log\nSlurmdLogFile={folder}/slurmd.log\n"
        "ProctrackType=proctrack/linuxproc\nTaskPlugin=task/none\nSelectType=select/cons_tres\n"
        "SelectTypeParameters=CR_CPU\nReturnToService=2\nKillWait=10\nMpiDefault=none\nJobRequeue=1\n"
        f"NodeName={host} NodeAddr=127.0.0.1 CPUs=1 State=UNKNOWN\n"
        "PartitionName=debug Nodes=ALL Default=YES MaxTime=60 State=UP\n"
    )
    programs = [
        ["munged", "--foreground", f"--key-file={folder}/munge.key", f"--socket={folder}/munge.socket", "--force"]
        + [f"--pid-file={folder}/munge.pid", f"--log-file={folder}/munge.log", f"--seed-file={folder}/munge.seed"],
        ["slurmctld", "-D", "-f", f"{folder}/slurm.conf"],
        ["slurmd", "-D", "-f", f"{folder}/slurm.conf", "-N", host],
    ]
    path = os.environ["PATH"] + ":/usr/sbin:/usr/local/sbin"
    environment = os.environ | {"PATH": path, "SLURM_CONF": f"{folder}/slurm.conf"}
    daemons = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SLURM_CONF", f"{folder}/slurm.conf")
        try:
            for program in programs:
                output = (folder / f"{program[0]}.out").open("w")
                daemons.append(subprocess.Popen(program, env=environment, stdout=output, stderr=output))
                time.sleep(1)
            until(lambda: "idle" in slurm_says("sinfo", "--noheader", "--format=%t"), 60)
            yield folder
            subprocess.run(["scancel", "--me"])
            until(lambda: not slurm_says("squeue", "--noheader").strip(), 60)
        finally:
            for daemon in reversed(daemons):
                daemon.terminate()
                try:
                    daemon.wait(20)
                except subprocess.TimeoutExpired:
                    daemon.kill()
                    daemon.wait()
            shutil.rmtree(folder, ignore_errors=True)


def free_port() -> int:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return int(listening.getsockname()[1])


def slurm_says(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True).stdout


@pytest.mark.full
def test_a_real_slurm_trains_and_a_lost_job_goes_on(slurm: Path, home: Path, model: Path, tmp_path: Path) -> None:
    backend = opened(home, partition="debug", timeout_min=30)
    subprocess.run(["scontrol", "update", "partitionname=debug", "state=down"], check=True)
    run_id = submit(backend, model, tmp_path)
    folder = backend.runs.folder / run_id
    until(lambda: "waits in Slurm as job" in backend.fetch(run_id).details.get("waits", ""))
    assert backend.fetch(run_id).status is JobStatus.QUEUED
    subprocess.run(["scontrol", "update", "partitionname=debug", "state=up"], check=True)
    until(lambda: list(backend.checkpoints(run_id)))
    first = backend.fetch(run_id).details["slurm_job"]
    os.kill(worker_of(folder), signal.SIGSTOP)
    os.kill(driver_of(folder), signal.SIGKILL)
    until(lambda: not backend._run(run_id).is_alive())
    backend.fetch(run_id)  # starts the driver again, which finds the job
    subprocess.run(["scancel", "--signal=KILL", "--full", first], check=True)  # as when the node is lost
    state = ended(backend, run_id)

    assert state.status is JobStatus.SUCCEEDED, (state, (folder / "log.txt").read_text())
    assert [row["step"] for row in lines_of(folder / "metrics.jsonl")] == list(range(1, 31))
    assert state.details["slurm_job"] != first
    assert sum("Submitted to Slurm" in message for message in said(folder)) == 2
    assert sum("has started on" in message for message in said(folder)) == 2
    listed = slurm_says("squeue", "--noheader", "--states=all", "--format=%j|%T")
    assert sorted(line for line in listed.split() if run_id in line)[-1] == f"tuneport-{run_id}-2|COMPLETED"


@pytest.mark.full
def test_a_real_slurm_job_is_cancelled_and_a_refusal_is_told(
    slurm: Path, home: Path, model: Path, tmp_path: Path
) -> None:
    backend = opened(home, partition="debug", timeout_min=30)
    run_id = submit(backend, model, tmp_path, epochs=2000)
    until(lambda: (backend.fetch(run_id).progress.step or 0) >= 1)
    job = backend.fetch(run_id).details["slurm_job"]
    backend.cancel(run_id)
    assert ended(backend, run_id).status is JobStatus.CANCELLED
    until(lambda: job not in slurm_says("squeue", "--noheader", "--format=%i").split())
    until(lambda: worker_of(backend.runs.folder / run_id) == 0)

    for number, (asked, says) in enumerate(
        [({"partition": "nowhere"}, "invalid partition"), ({"timeout_min": 600}, "PartitionTimeLimit")]
    ):
        other = opened(tmp_path / f"other-{number}", **asked)
        state = ended(other, submit(other, model, tmp_path))
        assert state.status is JobStatus.FAILED and state.error is not None and state.error.fault == "user"
        assert says in state.error.message and "\n" not in state.error.message
    until(lambda: "PENDING" not in slurm_says("squeue", "--noheader", "--format=%T"))


@pytest.mark.full
def test_a_job_submitted_by_a_driver_that_died_before_it_knew_is_found_by_its_name(
    slurm: Path, home: Path, model: Path, data: Path
) -> None:
    options = {"precision": "fp32", "executor": "slurm", "slurm": {"gpus_per_node": 0, "timeout_min": 30}}
    folder = make_run(home, model, data, provider_options=options)
    run = TrainingRunFolder(folder)
    on_slurm._intend(run, 1)
    job_id = clusters.submit_slurm_job(run)
    SlurmSubmission(1, "tuneport-run-1-1").write(folder)  # as if the id had never been written
    assert clusters.SlurmCluster().find_job_id(folder, SlurmSubmission(1, "tuneport-run-1-1")) == job_id
    command = [sys.executable, "-m", "tuneport.train", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert state_of(folder)["status"] == "succeeded"
    assert SlurmSubmission.of(folder) == SlurmSubmission(1, "tuneport-run-1-1", job_id)
