"""The scheduler of local runs as its users meet it: submit and go home, parents and children killed on the way.

The fast tests have a stand-in for the trainer, which keeps to the trainer's own code for its folder and its devices and
sleeps where the trainer trains; the last ones train.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.support.folders import CHECKOUT
from tests.support.tiny import busy_cpu, chat_rows, make_run, tiny_model, write_rows
from tests.support.waiting import until
from tuneport.backends.local.backend import LocalBackend
from tuneport.backends.local.runs import process as local_process
from tuneport.backends.local.runs.run import LocalRun
from tuneport.device_queue import DeviceQueue
from tuneport.lifecycle.service import JobService
from tuneport.manifests import load_manifest
from tuneport.settings import BackendSettings, ProjectFile, Settings
from tuneport.testing.contract import contract_job_token, prepared_chats
from tuneport.types import JobStatus, TuneSpec

WAITING = ("Another run is using the device", "It is this run's turn")
STAND_IN = """
import os, subprocess, sys, time
from pathlib import Path
from tuneport.train.run.run_folder import TrainingRunFolder
from tuneport.types import JobStatus
run = TrainingRunFolder(Path(sys.argv[1]))
if not run.lock():
    sys.exit(75)
stop = lambda: run.cancelled or run.folder_deleted
with run.claim_devices(1, stop) as devices:
    if devices is None:
        sys.exit(0 if run.folder_deleted else run.finish(JobStatus.CANCELLED))
    run.log_event(f"has {devices}")
    run.update(status=JobStatus.RUNNING, device=",".join(devices))
    BODY
    run.finish(JobStatus.SUCCEEDED)
"""


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_model(tmp_path_factory.mktemp("tiny-model"))


@pytest.fixture
def open_stand_in(settings: Settings, tmp_path: Path) -> Iterator[Callable[..., LocalBackend]]:
    def open_one(body: str, **options: Any) -> LocalBackend:
        script = tmp_path / "stand_in.py"
        script.write_text(STAND_IN.replace("BODY", body))
        project = ProjectFile(backends={"local": BackendSettings(options=options)})
        return LocalBackend(
            load_manifest("local"),
            settings.model_copy(update={"project": project}),
            train_command=[sys.executable, str(script)],
        )

    yield open_one
    end_children(settings.home)


def end_children(home: Path) -> None:
    """Kill what a failed test left."""
    for path in home.glob("runs/*/pid"):
        with contextlib.suppress(ProcessLookupError, ValueError):
            os.killpg(int(path.read_text()), signal.SIGKILL)


def submitter(model: Path, folder: Path) -> Callable[[LocalBackend, str], str]:
    data = prepared_chats(folder)
    spec = TuneSpec(model=str(model), dataset=data.training.path)
    return lambda backend, word: (
        backend.submit(spec, list(backend.prepare(spec, data)), token=contract_job_token(word)).remote_id
    )


def spans(home: Path, said: str) -> list[tuple[datetime, datetime, str]]:
    """From when to when each attempt of each run had its device: from the event that says so to that attempt's last."""
    found = []
    for folder in (home / "runs").glob("run-*"):
        attempts: list[list[datetime]] = []
        for line in (folder / "events.jsonl").read_text().splitlines():
            event = json.loads(line)
            moment = datetime.fromisoformat(event["created_at"])
            if event["message"].startswith(said):
                attempts.append([moment])
            elif attempts and event["type"] != "restart" and not event["message"].startswith(WAITING):
                attempts[-1].append(moment)
        found += [(attempt[0], attempt[-1], folder.name) for attempt in attempts]
    return sorted(found)


def said(backend: LocalBackend, run_id: str) -> list[str]:
    return [event.message for event in backend.events(run_id)]


def submission_order(home: Path) -> list[str]:
    created = {path.parent.name: json.loads(path.read_text())["created_at"] for path in home.glob("runs/*/run.json")}
    return sorted(created, key=lambda run_id: created[run_id])


def processes_of(home: Path) -> list[int]:
    """All that have a file below that home open or as their working folder: trainers, and whatever they started."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if str(home) in os.readlink(process / "cwd"):
                found.append(int(process.name))
    return found


# --- order, with a stand-in ---------------------------------------------------------------------------------------


def test_runs_drain_in_order_with_nobody_there(open_stand_in, model: Path, tmp_path: Path, settings: Settings) -> None:
    backend = open_stand_in("time.sleep(0.2); run.log_event('done')")
    submit = submitter(model, tmp_path)
    with busy_cpu(settings.home).open("w") as busy:
        fcntl.flock(busy, fcntl.LOCK_EX)
        runs = [submit(backend, str(number)) for number in range(4)]
        until(lambda: [backend.fetch(run).raw_status for run in runs] == ["queued"] * 4)
        places = ["next in line", "1 run before it", "2 runs before it", "3 runs before it"]
        shown = [f"waits for the device; {place}" for place in places]
        until(lambda: [backend.fetch(run).details.get("waits") for run in runs] == shown)
        os.kill(int((settings.home / "runs" / runs[1] / "pid").read_text()), signal.SIGKILL)
        until(lambda: not backend._run(runs[1]).is_alive())
        backend.cancel(runs[2])
        until(lambda: DeviceQueue(settings.home).waiting() == [runs[0], runs[3]])
    # From here on nobody looks after them.
    until(lambda: not backend._run(runs[0]).is_alive() and not backend._run(runs[3]).is_alive())
    assert [run for *_, run in spans(settings.home, "has")] == [runs[0], runs[3]]
    until(lambda: backend.fetch(runs[1]).status is JobStatus.SUCCEEDED)  # whoever looks starts the killed one again
    assert [backend.fetch(run).status.value for run in runs] == ["succeeded", "succeeded", "cancelled", "succeeded"]
    until(lambda: processes_of(settings.home) == [])


def test_two_named_devices_serve_two_runs_at_a_time(open_stand_in, model: Path, tmp_path: Path, settings) -> None:
    backend = open_stand_in("time.sleep(1.0); run.log_event('done')", devices=["cpu:0", "cpu:1"])
    submit = submitter(model, tmp_path)
    runs = [submit(backend, str(number)) for number in range(6)]
    until(lambda: all(backend.fetch(run).status.terminal for run in runs))
    states = [backend.fetch(run) for run in runs]
    assert {state.details["device"] for state in states} == {"cpu:0", "cpu:1"}
    had = spans(settings.home, "has")
    assert len(had) == 6 and max(sum(a <= begun <= b for a, b, _ in had) for begun, *_ in had) == 2


# --- orphans ------------------------------------------------------------------------------------------------------

STARTS_ANOTHER = """subprocess.Popen(['sleep', '600'], pass_fds=run.locks); run.log_event('started another')
    while not stop(): time.sleep(0.05)"""


def test_a_run_whose_folder_is_deleted_ends(open_stand_in, model: Path, tmp_path: Path, settings: Settings) -> None:
    backend = open_stand_in("while not stop(): time.sleep(0.05)\n    sys.exit(0)")
    submit = submitter(model, tmp_path)
    first, waiting = submit(backend, "first"), submit(backend, "waiting")
    until(lambda: backend.fetch(first).raw_status == "running" and backend.fetch(waiting).raw_status == "queued")
    shutil.rmtree(settings.home / "runs" / waiting)
    until(lambda: DeviceQueue(settings.home).waiting() == [])
    shutil.rmtree(settings.home / "runs" / first)
    again = submit(backend, "first")  # the same folder again, and another run
    assert again == first
    until(lambda: backend.fetch(first).raw_status == "running")
    backend.cancel(first)
    until(lambda: processes_of(settings.home) == [])


def test_what_a_killed_trainer_started_is_killed_before_it_starts_again(
    open_stand_in, model: Path, tmp_path: Path, settings: Settings
) -> None:
    backend = open_stand_in(STARTS_ANOTHER)
    run = submitter(model, tmp_path)(backend, "one")
    until(lambda: "started another" in said(backend, run))
    before = until(lambda: len(found := processes_of(settings.home)) == 2 and found)
    pid = int((settings.home / "runs" / run / "pid").read_text())
    os.kill(pid, signal.SIGKILL)
    until(lambda: local_process.local_run_process_start(pid) is None)
    until(lambda: backend.fetch(run) and not any(local_process.local_run_process_start(process) for process in before))
    until(lambda: backend.fetch(run) and said(backend, run).count("started another") == 2)
    os.killpg(int((settings.home / "runs" / run / "pid").read_text()), signal.SIGKILL)


def test_cancel_kills_a_trainer_that_ignores_it_with_all_that_it_started(
    open_stand_in, model: Path, tmp_path: Path, settings: Settings
) -> None:
    deaf = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); "
    backend = open_stand_in(deaf + STARTS_ANOTHER.replace("not stop()", "True"))
    run = submitter(model, tmp_path)(backend, "one")
    until(lambda: "started another" in said(backend, run))
    assert backend.cancel(run).status is JobStatus.CANCELLING
    LocalRun(backend.runs.folder / run, [], dict, cancel_grace=timedelta(0)).supervise()
    until(lambda: backend.fetch(run).status is JobStatus.CANCELLED)
    until(lambda: processes_of(settings.home) == [])


def test_a_stuck_trainer_that_nobody_watches_ends_itself(model: Path, tmp_path: Path) -> None:
    folder = make_run(tmp_path / "home", model, write_rows(tmp_path / "train.jsonl", chat_rows(4)))
    program = """
import signal, subprocess, sys, time
from pathlib import Path
from tuneport.train.run import watchdog
from tuneport.train.run.run_folder import TrainingRunFolder
signal.signal(signal.SIGTERM, signal.SIG_IGN)
watchdog.GRACE_SECONDS = watchdog._SECONDS_BETWEEN_LOOKS = 0.1
run = TrainingRunFolder(Path(sys.argv[1]))
assert run.lock()
watchdog.start_training_watchdog(run)
other = subprocess.Popen(["sleep", "600"])
print(other.pid, flush=True)
time.sleep(600)
"""
    with subprocess.Popen(
        [sys.executable, "-c", program, str(folder)], stdout=subprocess.PIPE, text=True, start_new_session=True
    ) as child:
        assert child.stdout is not None
        other = int(child.stdout.readline())
        (folder / "cancel").touch()
        assert child.wait(60) == -signal.SIGKILL
    until(lambda: local_process.local_run_process_start(other) is None)


# --- the whole of it, with the real trainer -----------------------------------------------------------------------

PARENT = """
import sys
from pathlib import Path
from tuneport.lifecycle.service import JobService
from tuneport.settings import Settings
from tuneport.types import Hyperparameters, TuneSpec
model, data, count = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
with JobService(Settings.load()) as workspace:
    there = {row.tune_spec.suffix for row in workspace.store.jobs.all()}
    for number in range(count):
        if f"job-{number}" in there:
            continue
        numbers = Hyperparameters(epochs=12, batch_size=4, lora_rank=2)
        spec = TuneSpec(model=model, dataset=data, suffix=f"job-{number}", hyperparameters=numbers, seed=1)
        row = workspace.submit(spec, backend="local")
        workspace.start(row.id)
    workspace.poll(until_idle=True)
"""


def run_to_the_end(
    home: Path, model: Path, data: Path, jobs: int, kills: int, harm: Callable[[int], None] = lambda kill: None
) -> None:
    """A parent that submits and follows the jobs, killed so many times at random moments and started again."""
    seeded = random.Random(11)
    command = [sys.executable, "-c", PARENT, str(model), str(data), str(jobs)]
    environment = os.environ | {"TUNEPORT_HOME": str(home), "OMP_NUM_THREADS": "1"}
    for kill in range(kills):
        with subprocess.Popen(command, cwd=CHECKOUT, env=environment) as parent:
            done = jobs * (kill + 1) // (kills + 2)  # the kills are spread over the whole of it
            until(lambda done=done: parent.poll() is None and finished(home) >= done, 900)
            time.sleep(seeded.random() * 3)
            parent.kill()
            assert parent.wait() == -signal.SIGKILL, "it had ended before it was killed"
        harm(kill)
    subprocess.run(command, cwd=CHECKOUT, env=environment, check=True, timeout=1200)


def finished(home: Path) -> int:
    states = [json.loads(path.read_text()) for path in home.glob("runs/*/state.json")]
    return sum(state["status"] == "succeeded" for state in states)


def check_each_finished_once(home: Path, jobs: int) -> list[tuple[datetime, datetime, str]]:
    with JobService(Settings(home=home)) as workspace:
        rows = workspace.store.jobs.all()
        assert sorted(row.status for row in rows) == ["succeeded"] * jobs
    order = submission_order(home)
    assert len(order) == jobs == len({row.remote_id for row in rows})
    for run_id in order:
        folder = home / "runs" / run_id
        steps = [json.loads(line)["step"] for line in (folder / "metrics.jsonl").read_text().splitlines()]
        assert steps == list(range(1, max(steps) + 1)), "each step once"
        said = [json.loads(line)["message"] for line in (folder / "events.jsonl").read_text().splitlines()]
        started = [message for message in said if message.startswith("Fine-tuning job started")]
        restarts = folder / "restarts.json"
        most = 1 + (json.loads(restarts.read_text())["total"] if restarts.exists() else 0)
        assert 1 <= len(started) <= most, (started, most)
        assert said.count("The job has successfully completed") == 1
    until(lambda: processes_of(home) == [])
    return spans(home, "Validating training file")


@pytest.mark.full
def test_ten_jobs_on_one_device_with_three_restarts_of_the_parent(model: Path, tmp_path: Path) -> None:
    """And two trainers killed while they train and one while it waits. Each job is finished once, in order."""
    home, data = tmp_path / "scheduled", write_rows(tmp_path / "train.jsonl", chat_rows(12))
    killed = []

    def harm(kill: int) -> None:
        """With nobody there, kill the run that trains; the second time, the last of those that wait."""
        pids = {path.parent.name: int(path.read_text()) for path in home.glob("runs/*/pid")}
        waiting = DeviceQueue(home).waiting()
        if kill == 1:
            victim = waiting[-1]
        else:
            victim = until(lambda: training(home))
        with contextlib.suppress(ProcessLookupError):
            os.kill(pids[victim], signal.SIGKILL)
            killed.append(victim)

    try:
        run_to_the_end(home, model, data, jobs=10, kills=3, harm=harm)
        had = check_each_finished_once(home, 10)
    finally:
        end_children(home)
    for (_, ended, one), (begun, _, other) in zip(had, had[1:], strict=False):
        assert ended <= begun, f"{one} and {other} trained at the same time"
    firsts = list(dict.fromkeys(run_id for *_, run_id in had))
    assert firsts == submission_order(home)
    assert len(killed) == 3


def training(home: Path) -> str | None:
    """The run that is at its steps now."""
    for path in home.glob("runs/*/state.json"):
        if json.loads(path.read_text())["status"] == "running":
            return path.parent.name
    return None


@pytest.mark.full
def test_five_jobs_on_two_devices_train_two_at_a_time(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home, data = tmp_path / "scheduled", write_rows(tmp_path / "train.jsonl", chat_rows(12))
    config = tmp_path / "tuneport.toml"
    config.write_text('[backends.local.options]\ndevices = ["cpu:0", "cpu:1"]\n')
    monkeypatch.setenv("TUNEPORT_CONFIG", str(config))
    try:
        run_to_the_end(home, model, data, jobs=5, kills=1)
        had = check_each_finished_once(home, 5)
    finally:
        end_children(home)
    assert max(sum(a <= begun <= b for a, b, _ in had) for begun, *_ in had) == 2
