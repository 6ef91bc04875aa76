"""What the local backend does when things go wrong. Most children here are stubs of a few lines that keep to the
trainer's protocol and then misbehave; the last tests have the real trainer run out of room and lose its model."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.support.folders import CHECKOUT
from tests.support.waiting import until
from tuneport.backends.local.backend import LocalBackend
from tuneport.backends.local.runs import process as local_process
from tuneport.backends.local.runs import run as local_run
from tuneport.backends.local.runs.runs import LocalRunStore, local_run_storage_errors, new_local_run_id
from tuneport.backends.local.weights import copy_tuned_weights, place_tuned_weights
from tuneport.errors import (
    ConfigError,
    DatasetError,
    NotFoundError,
    ProviderError,
    RejectedError,
    UnavailableError,
    UnsupportedError,
)
from tuneport.estimate.settling import PATIENCE
from tuneport.files import is_file_locked
from tuneport.manifests import load_manifest
from tuneport.run_protocol import RunRequest
from tuneport.settings import Settings
from tuneport.testing.contract import contract_job_token, prepared_chats
from tuneport.types import Adapter, Hyperparameters, JobState, JobStatus, Method, TuneSpec, Wandb

STUB = """
import fcntl, json, os, signal, sys, time
from pathlib import Path
run = Path(sys.argv[1])
lock = open(run / "lock", "w")
try:
    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
except BlockingIOError:
    sys.exit(75)
(run / "pid").write_text(str(os.getpid()))
with open(run / "starts", "a") as starts:
    starts.write(f"{os.getpid()}\\n")
started = len((run / "starts").read_text().split())

def say(status, **fields):
    aside = run / ".state"
    aside.write_text(json.dumps({"status": status, "progress": {"step": 1, "total_steps": 9}} | fields))
    os.replace(aside, run / "state.json")

def wait():
    while True:
        time.sleep(0.01)
"""
SUCCEED = 'say("running"); say("succeeded")'
DIE = 'say("running"); print("CUDA out of memory", flush=True); os.kill(os.getpid(), signal.SIGKILL)'


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A folder that passes for a model as long as nobody loads it: 3,000 parameters by its header."""
    folder = tmp_path / "tiny-model"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"model_type": "llama"}))
    header = json.dumps({"weight": {"dtype": "F32", "shape": [30, 100], "data_offsets": [0, 12000]}}).encode()
    (folder / "model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + bytes(12000))
    return folder


@pytest.fixture
def open_stub(settings: Settings, tmp_path: Path) -> Iterator[Callable[[str], LocalBackend]]:
    """A backend whose trainer is the stub with `body` at its end. What still runs afterwards is killed."""

    def open_one(body: str) -> LocalBackend:
        script = tmp_path / f"stub-{abs(hash(body))}.py"
        script.write_text(f"{STUB}\n{body}\n")
        return LocalBackend(load_manifest("local"), settings, train_command=[sys.executable, str(script)])

    yield open_one
    for path in settings.home.glob("runs/*/starts"):
        for pid in path.read_text().split():
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(pid), signal.SIGKILL)


@pytest.fixture
def submit(model: Path, tmp_path: Path) -> Callable[..., JobState]:
    data = prepared_chats(tmp_path)

    def submit_one(backend: LocalBackend, word: str = "one", **changes: Any) -> JobState:
        spec = TuneSpec(model=str(model), dataset=data.training.path, **changes)
        return backend.submit(spec, list(backend.prepare(spec, data)), token=contract_job_token(word))

    return submit_one


def wait(backend: LocalBackend, run_id: str, seconds: float = 90.0) -> JobState:
    state: JobState = until(lambda: (s := backend.fetch(run_id)).status.terminal and s, seconds)
    return state


def starts(backend: LocalBackend, run_id: str) -> list[int]:
    path = backend.runs.folder / run_id / "starts"
    return [int(pid) for pid in path.read_text().split()] if path.exists() else []


def running(backend: LocalBackend, run_id: str, count: int = 1) -> int:
    """Wait until the child was started `count` times and says that it runs; its pid."""
    until(lambda: backend.fetch(run_id).raw_status == "running" and len(starts(backend, run_id)) >= count)
    return starts(backend, run_id)[-1]


# --- starting -----------------------------------------------------------------------------------------------------


def test_submit_twice_with_one_token_starts_one_child(open_stub, submit) -> None:
    backend = open_stub('say("running"); wait()')
    first, second = submit(backend), submit(backend)
    assert first.remote_id == second.remote_id == new_local_run_id(contract_job_token("one"))
    running(backend, first.remote_id)
    assert len(starts(backend, first.remote_id)) == 1


def test_submit_that_crashed_before_its_child_is_carried_on_by_fetch(open_stub, submit, monkeypatch) -> None:
    backend = open_stub(SUCCEED)
    with monkeypatch.context() as patch:
        patch.setattr(local_run.LocalRun, "start", lambda run: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            submit(backend)
    found = backend.find(contract_job_token("one"))
    assert found.answer == "found" and found.state is not None
    assert wait(backend, found.state.remote_id).status is JobStatus.SUCCEEDED
    assert len(starts(backend, found.state.remote_id)) == 1


def test_trainer_that_cannot_be_started_leaves_no_run(settings, submit) -> None:
    backend = LocalBackend(load_manifest("local"), settings, train_command=["/no/such/python"])
    with pytest.raises(ProviderError, match="cannot be started.*nothing was started"):
        submit(backend)
    assert backend.find(contract_job_token("one")).answer == "absent"
    assert list(backend.list_jobs()) == []


def test_disk_that_fills_just_after_the_start_leaves_no_trainer(open_stub, submit, monkeypatch) -> None:
    backend, pids, write = open_stub('say("running"); wait()'), [], local_run.write_atomically

    def full(path: Path, content: str) -> None:
        if path.name == "spawn.json" and (pid := json.loads(content)["pid"]) is not None:
            pids.append(pid)
            until((path.parent / "starts").exists)  # the trainer is at work
            raise OSError(28, "No space left on device")
        write(path, content)

    monkeypatch.setattr(local_run, "write_atomically", full)
    with pytest.raises(ProviderError, match="No space left on device.*nothing was started"):
        submit(backend)
    assert len(pids) == 1 and local_process.local_run_process_start(pids[0]) is None
    assert list(backend.runs.folder.iterdir()) == []
    monkeypatch.undo()
    running(backend, submit(backend).remote_id)


def test_run_with_a_living_trainer_is_never_taken_back(open_stub, submit, monkeypatch) -> None:
    backend = open_stub('say("running"); wait()')
    pid = running(backend, submit(backend).remote_id)

    def exhausted(run: Any) -> None:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(local_run.LocalRun, "start", exhausted)
    with pytest.raises(UnavailableError, match="may be running"):
        submit(backend)
    assert local_process.local_run_process_start(pid) is not None
    assert backend.find(contract_job_token("one")).answer == "found"


@pytest.mark.parametrize(
    "name",
    ["GH_PAT", "MY_AUTH", "SESSION_COOKIE", "PRIVATE_PEM", "DB_PASS", "HF_TOKEN", "SENTRY_DSN", "SSH_AUTH_SOCK"],
)
def test_names_that_sound_like_secrets_are_kept_from_children(name: str) -> None:
    kept = local_process.local_trainer_environment(
        {name: "x", "PATH": "/bin", "PWD": "/", "HOME": "/h", "CUDA_PATH": "/c"}
    )
    assert name not in kept
    assert {"PATH", "PWD", "HOME", "CUDA_PATH"} <= kept.keys()


def test_child_is_no_child_of_the_terminal_and_inherits_no_secret(open_stub, submit, monkeypatch, settings) -> None:
    key = "not-by-name-0123456789"
    monkeypatch.setenv("HARMLESS_NAME", f"prefix {key}")
    monkeypatch.setenv("MY_PASSWORD", "hunter2")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "abc")
    monkeypatch.setenv("TUNEPORT_DATABASE_URL", "postgresql://me:hunter2@localhost/jobs")
    monkeypatch.setenv("TOKENIZERS_PARALLELISM", "true")
    monkeypatch.setenv("KEPT", "yes")
    monkeypatch.setenv("OPENAI_API_KEY", key)
    backend = open_stub('say("running"); wait()')
    pid = running(backend, submit(backend).remote_id)
    raw = Path(f"/proc/{pid}/environ").read_bytes()
    environment = dict(entry.split("=", 1) for entry in raw.decode().split("\0") if entry)
    assert key.encode() not in raw and b"hunter2" not in raw and b"AWS_SECRET" not in raw
    assert environment["KEPT"] == "yes" and environment["TOKENIZERS_PARALLELISM"] == "true"
    assert environment["HF_HUB_OFFLINE"] == "1", "the model lies in a folder"
    assert key.encode() not in Path(f"/proc/{pid}/cmdline").read_bytes()
    assert os.getsid(pid) == pid
    assert (
        Path(f"/proc/{pid}/cwd").resolve()
        == (backend.runs.folder / new_local_run_id(contract_job_token("one"))).resolve()
    )
    assert Path(f"/proc/{pid}/fd/0").resolve() == Path("/dev/null")


# --- dying --------------------------------------------------------------------------------------------------------


def test_killed_child_is_started_again_and_leaves_no_zombie(open_stub, submit) -> None:
    backend = open_stub('say("running")\nif started == 1: wait()\nsay("succeeded")')
    run_id = submit(backend).remote_id
    pid = running(backend, run_id)
    os.kill(pid, signal.SIGKILL)
    assert wait(backend, run_id).status is JobStatus.SUCCEEDED
    assert len(starts(backend, run_id)) == 2
    until(lambda: not Path(f"/proc/{pid}").exists())  # reaped, though this process is its parent and still here
    restarts = [event for event in backend.events(run_id) if event.type == "restart"]
    assert [event.level for event in restarts] == ["warning"]
    assert backend.fetch(run_id).details["restarts"] == 1


def test_child_that_keeps_dying_is_given_up_after_three_restarts(open_stub, submit) -> None:
    backend = open_stub(DIE)
    state = wait(backend, submit(backend).remote_id)
    assert state.status is JobStatus.FAILED
    assert state.error is not None and state.error.code == "process_died"
    assert "CUDA out of memory" in state.error.message and "log.txt" in state.error.message
    assert "\n" not in state.error.message
    assert len(starts(backend, state.remote_id)) == 4
    assert backend.fetch(state.remote_id) == state, "what is over stays as it is"
    assert list(backend.events(state.remote_id))[-1].level == "error"


def test_restarts_are_counted_from_the_newest_checkpoint(open_stub, submit) -> None:
    progress = '(run / "checkpoints" / f"step-{started}").mkdir(parents=True)\n'
    backend = open_stub(f'if started < 7:\n    {progress}    {DIE}\nsay("succeeded")')
    state = wait(backend, submit(backend).remote_id)
    assert state.status is JobStatus.SUCCEEDED
    assert len(starts(backend, state.remote_id)) == 7
    assert [step for step, _ in backend._run(state.remote_id).checkpoint_folders()] == [1, 2, 3, 4, 5, 6]


def test_many_who_fetch_at_once_start_one_child(open_stub, submit) -> None:
    backend = open_stub('say("running"); wait()')
    run_id = submit(backend).remote_id
    for round_number in range(2, 5):
        pid = running(backend, run_id, round_number - 1)
        os.kill(pid, signal.SIGKILL)
        until(lambda pid=pid: local_process.local_run_process_start(pid) is None)
        barrier = threading.Barrier(8)

        def fetch(_: int, barrier: threading.Barrier = barrier) -> JobState:
            barrier.wait()
            return LocalBackend(backend.manifest, backend.settings, train_command=backend._train_command).fetch(run_id)

        with ThreadPoolExecutor(8) as pool:
            list(pool.map(fetch, range(8)))
        running(backend, run_id, round_number)
        assert len(starts(backend, run_id)) == round_number


def test_child_goes_on_when_the_process_that_submitted_is_killed(open_stub, submit, settings, model, tmp_path) -> None:
    backend = open_stub('say("running")\nwhile not (run / "go").exists(): time.sleep(0.01)\nsay("succeeded")')
    data = prepared_chats(tmp_path)
    program = f"""
import os, signal
from pathlib import Path
from tuneport.testing.contract import prepared_chats
from tuneport.backends.local.backend import LocalBackend
from tuneport.manifests import load_manifest
from tuneport.settings import Settings
from tuneport.types import TuneSpec
backend = LocalBackend(load_manifest("local"), Settings(home=Path({str(settings.home)!r})),
                       train_command={list(backend._train_command)!r})
data = prepared_chats(Path({str(tmp_path)!r}))
spec = TuneSpec(model={str(model)!r}, dataset=data.training.path)
backend.submit(spec, list(backend.prepare(spec, data)), token="from elsewhere")
os.kill(os.getpid(), signal.SIGKILL)
"""
    checkout = CHECKOUT
    done = subprocess.run([sys.executable, "-c", program], cwd=checkout, capture_output=True, text=True)
    assert done.returncode == -signal.SIGKILL, done.stderr
    run_id = new_local_run_id("from elsewhere")
    running(backend, run_id)
    (backend.runs.folder / run_id / "go").touch()
    assert wait(backend, run_id).status is JobStatus.SUCCEEDED
    assert len(starts(backend, run_id)) == 1
    assert data.training.rows == 12


# --- who is alive -------------------------------------------------------------------------------------------------


def test_another_process_with_the_same_pid_is_neither_believed_nor_signalled(open_stub, submit) -> None:
    backend = open_stub('say("running"); wait()')
    run_id = submit(backend).remote_id
    os.kill(running(backend, run_id), signal.SIGKILL)
    with subprocess.Popen(["sleep", "60"], start_new_session=True) as stranger:
        try:
            path = backend.runs.folder / run_id / "spawn.json"
            spawn = json.loads(path.read_text())
            until(lambda: not backend._run(run_id).is_alive())
            path.write_text(json.dumps(spawn | {"pid": stranger.pid}))  # same pid, another start time
            assert not backend._run(run_id).is_alive()
            assert backend.cancel(run_id).status is JobStatus.CANCELLED
            assert stranger.poll() is None
        finally:
            stranger.kill()


def test_lock_alone_shows_a_child_whose_spawn_was_never_written_down(open_stub, submit) -> None:
    backend = open_stub('say("running"); wait()')
    run_id = submit(backend).remote_id
    pid = running(backend, run_id)
    spawn = backend.runs.folder / run_id / "spawn.json"
    spawn.write_text(json.dumps({"spawned_at": (datetime.now(UTC) - timedelta(hours=1)).isoformat()}))
    assert backend._run(run_id).is_alive()
    spawn.write_text("{")
    assert backend._run(run_id).is_alive()
    assert backend.fetch(run_id).raw_status == "running"
    os.kill(pid, signal.SIGKILL)
    until(lambda: not backend._run(run_id).is_alive())


def test_child_about_to_take_its_lock_counts_as_alive(open_stub, submit) -> None:
    backend = open_stub('say("running"); wait()')
    run_id = submit(backend).remote_id
    os.kill(running(backend, run_id), signal.SIGKILL)
    spawn = backend.runs.folder / run_id / "spawn.json"
    spawn.write_text(json.dumps({"spawned_at": datetime.now(UTC).isoformat()}))
    assert backend._run(run_id).is_alive()


def test_lock_left_behind_by_a_dead_child_holds_nobody_up(tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    assert not is_file_locked(lock)
    lock.touch()
    assert not is_file_locked(lock)
    with lock.open() as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert is_file_locked(lock)
    assert not is_file_locked(lock)


@pytest.mark.parametrize("platform", ["linux", "darwin"])
def test_start_time_tells_processes_apart(platform: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", platform)  # `ps` serves where there is no /proc
    with subprocess.Popen(["sleep", "60"]) as child:
        started = local_process.local_run_process_start(child.pid)
        assert started and started == local_process.local_run_process_start(child.pid)
        assert not local_process.signal_local_run_processes(child.pid, "another time", signal.SIGKILL)
        child.kill()
        # Dead, but not waited for: a zombie is nobody.
        until(lambda: local_process.local_run_process_start(child.pid) is None)
    assert local_process.local_run_process_start(child.pid) is None


# --- cancelling ---------------------------------------------------------------------------------------------------


def test_cancel_of_a_run_that_never_had_a_child_is_immediate(open_stub, submit, monkeypatch) -> None:
    backend = open_stub(SUCCEED)
    monkeypatch.setattr(local_run.LocalRun, "start", lambda run: None)
    run_id = submit(backend).remote_id
    state = backend.cancel(run_id)
    assert state.status is JobStatus.CANCELLED and state.finished_at is not None
    assert backend.fetch(run_id).status is JobStatus.CANCELLED
    assert starts(backend, run_id) == []


def test_child_that_dies_of_the_signal_counts_as_cancelled(open_stub, submit) -> None:
    backend = open_stub('say("running"); wait()')
    run_id = submit(backend).remote_id
    running(backend, run_id)
    assert backend.cancel(run_id).status in (JobStatus.CANCELLING, JobStatus.CANCELLED)
    state = wait(backend, run_id)
    assert state.status is JobStatus.CANCELLED and state.error is None
    assert len(starts(backend, run_id)) == 1


def test_child_that_ignores_the_signal_is_killed_after_the_grace(open_stub, submit) -> None:
    backend = open_stub('signal.signal(signal.SIGTERM, signal.SIG_IGN); say("running"); wait()')
    run_id = submit(backend).remote_id
    pid = running(backend, run_id)
    assert backend.cancel(run_id).status is JobStatus.CANCELLING
    assert backend.fetch(run_id).raw_status == "cancelling"
    assert local_process.local_run_process_start(pid) is not None
    local_run.LocalRun(backend.runs.folder / run_id, [], dict, cancel_grace=timedelta(0)).supervise()
    assert wait(backend, run_id).status is JobStatus.CANCELLED
    assert local_process.local_run_process_start(pid) is None


def test_child_that_finishes_after_the_request_has_succeeded(open_stub, submit) -> None:
    backend = open_stub(
        'signal.signal(signal.SIGTERM, lambda *_: (say("succeeded"), sys.exit(0))); say("running"); wait()'
    )
    run_id = submit(backend).remote_id
    running(backend, run_id)
    backend.cancel(run_id)
    assert wait(backend, run_id).status is JobStatus.SUCCEEDED


# --- damaged and missing files ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "content", ["{", "[]", '{"status": 3}', '{"status": "running", "progress": {"step": "x"}}', "\x00"]
)
def test_damaged_state_is_one_clear_error(open_stub, submit, content: str) -> None:
    backend = open_stub(SUCCEED)
    run_id = submit(backend).remote_id
    wait(backend, run_id)
    (backend.runs.folder / run_id / "state.json").write_text(content)
    with pytest.raises(ProviderError, match=rf"state.json of the local run {run_id} is damaged") as caught:
        backend.fetch(run_id)
    assert "\n" not in str(caught.value) and caught.value.code == "damaged_run"
    assert backend.find(contract_job_token("one")).answer == "unknown"
    assert list(backend.list_jobs()) == []
    assert len(starts(backend, run_id)) == 1, "it may have ended well, so it is not run again"
    backend.delete(run_id)
    with pytest.raises(NotFoundError):
        backend.fetch(run_id)


def test_damaged_request_is_one_clear_error(open_stub, submit) -> None:
    backend = open_stub(SUCCEED)
    run_id = submit(backend).remote_id
    wait(backend, run_id)
    (backend.runs.folder / run_id / "run.json").write_text("{}")
    with pytest.raises(ProviderError, match="run.json"):
        backend.fetch(run_id)


def test_line_in_the_making_is_ignored_and_a_broken_one_is_not(open_stub, submit) -> None:
    backend = open_stub(SUCCEED)
    run_id = submit(backend).remote_id
    wait(backend, run_id)
    metrics = backend.runs.folder / run_id / "metrics.jsonl"
    metrics.write_text(
        '{"step": 2, "train_loss": 1.5}\n{"step": 1, "train_loss": 2}\n{"step": 2, "valid_loss": 3}\n{"ste'
    )
    points = backend.metrics(run_id)
    assert [(point.step, point.train_loss, point.valid_loss) for point in points] == [(1, 2.0, None), (2, 1.5, 3.0)]
    metrics.write_text('{"step": 1}\n{"ste\n{"step": 2}\n')
    with pytest.raises(ProviderError, match=r"metrics.jsonl .*\(line 2: "):
        backend.metrics(run_id)


def test_restart_cuts_the_line_that_the_dead_child_left_half_written(open_stub, submit) -> None:
    half = 'for name in ("events", "metrics"): (run / f"{name}.jsonl").open("a").write(\'{"id": "half\')'
    whole = '(run / "metrics.jsonl").open("a").write(\'{"step": 1}\\n\')'
    backend = open_stub(f'if started == 1:\n    {half}\n    {DIE}\n{whole}; say("succeeded")')
    run_id = submit(backend).remote_id
    wait(backend, run_id)
    assert [event.type for event in backend.events(run_id)] == ["restart"]
    assert [point.step for point in backend.metrics(run_id)] == [1]


def test_unknown_status_word_counts_as_running(open_stub, submit) -> None:
    backend = open_stub('say("pondering"); wait()')
    run_id = submit(backend).remote_id
    state = until(lambda: (s := backend.fetch(run_id)).raw_status == "pondering" and s)
    assert state.status is JobStatus.RUNNING


@pytest.mark.parametrize("remote_id", ["run-0123456789abcdef", "..", "../files", "run-0123456789abcdef/../x", ""])
def test_unknown_run_is_not_found(open_stub, remote_id: str) -> None:
    backend = open_stub(SUCCEED)
    for call in (backend.fetch, backend.cancel, backend.delete, backend.metrics, backend.events, backend.checkpoints):
        with pytest.raises(NotFoundError, match="local run"):
            call(remote_id)


def test_prepared_file_that_is_gone_or_short_is_told(open_stub, model: Path, tmp_path: Path) -> None:
    backend = open_stub(SUCCEED)
    data = prepared_chats(tmp_path)
    spec = TuneSpec(model=str(model), dataset=data.training.path)
    [file] = backend.prepare(spec, data)
    Path(file.id).write_bytes(b"short")
    with pytest.raises(NotFoundError, match="submit again to prepare it"):
        backend.submit(spec, [file], token="x")
    [again] = backend.prepare(spec, data)
    assert again == file and backend.read_file(file.id) == data.training.path.read_bytes()
    backend.delete_file(file.id)
    data.training.path.unlink()
    with pytest.raises(DatasetError, match="gone"):
        list(backend.prepare(spec, data))


def test_files_outside_the_store_cannot_be_read(open_stub, settings: Settings) -> None:
    backend = open_stub(SUCCEED)
    secret = settings.home / "secret.jsonl"
    secret.write_text("mine")
    for file_id in (str(secret), "../secret.jsonl", f"{backend.files.folder}/../secret.jsonl", "/etc/passwd"):
        with pytest.raises(NotFoundError):
            backend.read_file(file_id)
        with pytest.raises(NotFoundError):
            backend.delete_file(file_id)
    assert secret.exists()


def test_run_at_work_keeps_itself_and_its_file(open_stub, submit) -> None:
    backend = open_stub('say("running"); wait()')
    run_id = submit(backend).remote_id
    running(backend, run_id)
    with pytest.raises(RejectedError, match="cancel it first"):
        backend.delete(run_id)
    [file] = backend.list_files()
    with pytest.raises(RejectedError, match="cancel it first"):
        backend.delete_file(file.id)
    backend.cancel(run_id)
    wait(backend, run_id)
    backend.delete_file(file.id)
    backend.delete(run_id)
    assert list(backend.list_files()) == [] and list(backend.list_jobs()) == []
    assert list(backend.runs.folder.glob("*run-*")) == []


def test_what_a_crash_left_of_an_old_run_is_swept_away(open_stub, submit) -> None:
    backend = open_stub(SUCCEED)
    left = backend.runs.folder / ".run-0123456789abcdef.4711.abcd" / "checkpoints"
    left.mkdir(parents=True)
    submit(backend, "soon after")
    assert left.exists(), "somebody may be at it"
    later = LocalRunStore(backend.runs.folder, abandoned_seconds=-1.0)
    later.create(new_local_run_id("later"), RunRequest(model="tiny"))
    assert not left.parent.exists()


def test_full_disk_at_submit_is_one_clear_error(open_stub, submit, monkeypatch: pytest.MonkeyPatch) -> None:
    backend = open_stub(SUCCEED)

    def full(path: Path, content: str) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("tuneport.backends.local.runs.runs.write_atomically", full)
    with pytest.raises(ProviderError, match="No space left on device; make room there") as caught:
        submit(backend)
    assert caught.value.code == "no_space"
    assert backend.find(contract_job_token("one")).answer == "absent"
    assert list(backend.runs.folder.iterdir()) == []


def test_full_disk_at_download_is_one_line(tmp_path: Path) -> None:
    weights = tmp_path / "weights"
    weights.mkdir()
    for number in range(12):
        (weights / f"model-{number:05}-of-00012.safetensors").touch()

    def full(source: str, target: str) -> None:
        raise OSError(28, "No space left on device", target)

    copy = tmp_path / "disk" / "copy"
    with pytest.raises(ProviderError) as caught, local_run_storage_errors(tmp_path / "disk", "copying the weights"):
        place_tuned_weights(copy, lambda aside: copy_tuned_weights(weights, aside, copy=full))
    assert str(caught.value) == (
        f"copying the weights failed under {tmp_path / 'disk'}: No space left on device; make room there and try again"
    )
    assert caught.value.code == "no_space" and list((tmp_path / "disk").iterdir()) == []


# --- what is refused before anything starts -----------------------------------------------------------------------


ANSWERING: dict[str, Any] = {"method": Method.GRPO, "reward": "package.module:function"}
PYTHON = {"type": "python", "name": "code", "source": "def grade(sample, item): return 1"}
GRADED: dict[str, Any] = {
    "method": Method.RFT,
    "grader": {"type": "string_check", "name": "x", "input": "a", "reference": "a", "operation": "eq"},
}


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"provider_options": {"lora_targets": ["q"]}}, UnsupportedError, "lora_targets.*lora_target_modules"),
        ({"provider_options": {"early_stopping": 2}}, ConfigError, "early_stopping needs something to evaluate on"),
        ({"provider_options": {"evaluate_every": 0}}, ConfigError, "evaluate_every is 0; it must be a number of steps"),
        ({"provider_options": {"save_every": True}}, ConfigError, "save_every is True"),
        ({"provider_options": {"precision": "int3"}}, ConfigError, "precision.*bf16"),
        ({"provider_options": {"lora_target_modules": []}}, ConfigError, "lora_target_modules"),
        ({"provider_options": {"gradient_checkpointing": "yes"}}, ConfigError, "gradient_checkpointing"),
        ({"hyperparameters": Hyperparameters(beta=0.1)}, UnsupportedError, "beta.*dpo"),
        ({"hyperparameters": Hyperparameters(lora_rank=8), "adapter": Adapter.FULL}, UnsupportedError, "lora_rank"),
        ({"provider_options": {"loss_on": "everything"}}, ConfigError, "loss_on.*assistant.*last.*completion"),
        (
            {"provider_options": {"loss_on": "last"}, "method": Method.DPO},
            UnsupportedError,
            "loss_on for sft, not for dpo",
        ),
        ({"provider_options": {"generations": 4}}, UnsupportedError, "generations for grpo, rloo or rft, not for sft"),
        ({"provider_options": {"workers": 2}, **ANSWERING}, UnsupportedError, "grpo trains on one device"),
        ({"provider_options": {"executor": "ray"}, **ANSWERING}, UnsupportedError, "does not travel to a Ray cluster"),
        ({"provider_options": {"optimizer": "adam_8bit"}}, ConfigError, "optimizer.*adamw_8bit"),
        (
            {"provider_options": {"optimizer": "adamw_8bit", "workers": 2}},
            UnsupportedError,
            "the moments of adamw_8bit cannot be sharded; leave workers out",
        ),
        ({"provider_options": {"executor": "slurm", "workers": 2}}, UnsupportedError, "Slurm trains on one device"),
        (
            {"provider_options": {"executor": "ray", "early_stopping": 2}, "validation": Path("held_out.jsonl")},
            UnsupportedError,
            "leave early_stopping out",
        ),
        (
            {"provider_options": {"executor": "ray"}, "wandb": Wandb(project="p")},
            (UnsupportedError, ConfigError),
            "W&B",
        ),
        ({"provider_options": {"generations": 1}, **ANSWERING}, ConfigError, "generations.*2 or more"),
        ({"provider_options": {"temperature": 0}, **ANSWERING}, ConfigError, "temperature.*above 0"),
        (
            {"hyperparameters": Hyperparameters(lora_dropout=0.1), **ANSWERING},
            UnsupportedError,
            "no lora_dropout for grpo",
        ),
        ({"hyperparameters": Hyperparameters(eval_samples=2)}, UnsupportedError, "eval_samples.*grpo, rloo or rft"),
        (
            {"hyperparameters": Hyperparameters(reasoning_effort="low"), **GRADED},
            UnsupportedError,
            "no reasoning_effort",
        ),
        (
            {
                "hyperparameters": Hyperparameters(compute_multiplier=2),
                "provider_options": {"generations": 4},
                **GRADED,
            },
            UnsupportedError,
            "mean the same",
        ),
        ({"method": Method.RFT, "grader": {"type": "score_model"}}, UnsupportedError, "is a score_model"),
        ({"method": Method.RFT, "grader": {**PYTHON}}, UnsupportedError, "run_grader_code=true"),
        ({"provider_options": {"lora_target_modules": ["lm_head"]}}, UnsupportedError, "lora_modules_to_save instead"),
        (
            {"provider_options": {"lora_modules_to_save": ["lm_head"]}, "adapter": Adapter.QLORA},
            UnsupportedError,
            "over a 4-bit base",
        ),
        (
            {"provider_options": {"lora_modules_to_save": ["lm_head"]}, "adapter": Adapter.FULL},
            UnsupportedError,
            "no lora_modules_to_save for the adapter full",
        ),
    ],
)
def test_what_the_trainer_cannot_do_is_refused_at_once(open_stub, submit, changes, error, message) -> None:
    backend = open_stub(SUCCEED)
    with pytest.raises(error, match=message):
        backend.check(TuneSpec(model="smollm2-135m-instruct", dataset=Path("never-read.jsonl"), **changes))
    with pytest.raises(error, match=message):
        submit(backend, **changes)
    assert list(backend.list_jobs()) == [] and list(backend.list_files()) == []


@pytest.mark.parametrize(
    ("changes", "patience"),
    [
        ({}, PATIENCE),
        ({"provider_options": {"early_stopping": 5}}, 5),
        ({"hyperparameters": Hyperparameters(epochs=3)}, None),  # who says how many has them all
        ({"validation": None}, None),
        ({"method": Method.REWARD}, None),  # not measured
        ({"provider_options": {"workers": 2}}, None),
        ({"provider_options": {"evaluate_every": 5}}, None),
    ],
)
def test_whether_the_best_epoch_is_kept_and_the_rate_that_goes_with_it(
    open_stub, submit, tmp_path, changes, patience
) -> None:
    backend = open_stub(SUCCEED)
    state = submit(backend, **({"validation": tmp_path / "held_out.jsonl"} | changes))
    request = json.loads((backend.runs.folder / state.remote_id / "run.json").read_text())
    assert request["spec"]["provider_options"].get("early_stopping") == patience
    told = "early_stopping" in state.details["hyperparameter_reasons"]
    assert told is (patience == PATIENCE), "a rule of ours has its reason"
    slow = submit(backend, "slow", **(changes | {"validation": None, "provider_options": {}}))
    faster = state.hyperparameters["learning_rate"] > slow.hyperparameters["learning_rate"]
    assert faster is (patience is not None)


def test_hyperparameters_are_numbers_and_the_multiplier_shows_beside_the_rate(open_stub, submit) -> None:
    backend = open_stub(SUCCEED)
    plain = submit(backend, "plain")
    doubled = submit(backend, "doubled", hyperparameters=Hyperparameters(learning_rate_multiplier=0.5, epochs=2))
    assert doubled.hyperparameters["epochs"] == 2
    request = json.loads((backend.runs.folder / doubled.remote_id / "run.json").read_text())
    assert request["spec"]["adapter"] == "lora"
    rate = doubled.details["recommended_learning_rate"]
    assert doubled.details["learning_rate_multiplier"] == 0.5
    assert request["hyperparameters"]["learning_rate"] == doubled.hyperparameters["learning_rate"] == rate * 0.5
    assert plain.hyperparameters["learning_rate"] == plain.details["recommended_learning_rate"]
    assert "learning_rate_multiplier" not in plain.details
    assert {"batch_size", "warmup_ratio", "weight_decay", "lora_rank", "lora_alpha"} <= plain.hyperparameters.keys()
    Hyperparameters.model_validate(request["hyperparameters"])


def test_a_cancelled_run_whose_child_is_dead_gets_one_that_stops_its_job_on_a_cluster(tmp_path: Path) -> None:
    """Only a child knows how; one that cannot is tried three times, and then a person is told."""
    from tuneport.backends.local.runs.run import STOPS_ELSEWHERE, LocalRun

    for ending, starts in (("import os, sys; os.unlink(sys.argv[1] + '/ray.json')", 1), ("pass", STOPS_ELSEWHERE)):
        folder = tmp_path / str(starts)
        folder.mkdir()
        (folder / "run.json").write_text('{"model": "m"}')
        (folder / "ray.json").write_text("{}")
        told = f"import sys; open(sys.argv[1] + '/starts', 'a').write('x'); {ending}"
        run = LocalRun(folder, [sys.executable, "-c", told], lambda: os.environ)
        run.cancel()
        deadline = time.monotonic() + 120
        while run.read_trainer_report() is None and time.monotonic() < deadline:
            run.supervise()
            time.sleep(0.05)
        reported = run.read_trainer_report()
        assert reported is not None and reported.status == "cancelled"
        assert (folder / "starts").read_text() == "x" * starts
        assert any("could not be stopped" in event.message for event in run.events()) == (starts > 1)
