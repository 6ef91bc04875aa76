"""Mistakes that others have made in reading a provider's answers, each as a case that ours must stand.

Found by reading the source of the named files at the named snapshots, not by running them. Each case is played to the
real backends by the emulators, over the wire.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.backends.hosted.test_backend import MODELS, submit
from tuneport.backends.base import FineTuneBackend
from tuneport.backends.hosted import statuses
from tuneport.errors import NotFoundError, ProviderError, TuneportError, UnavailableError
from tuneport.lifecycle.handle import Job, JobFailedError
from tuneport.lifecycle.service import JobService
from tuneport.settings import Settings
from tuneport.testing.contract import contract_job_token, prepared_chats
from tuneport.testing.emulators import OpenAIEmulator, TogetherEmulator
from tuneport.types import Found, JobStatus, PreparedData, TuneSpec

Connect = Callable[..., Any]
# Words that some provider has, or had, for a job that is in no table of the backend that hears them here.
FOREIGN_WORDS = [
    "expired",
    "stopping",
    "partially_succeeded",
    "updating",
    "re_queueing",
    "early_stopped",
    "deleting",
    "error_pending",
    "SUCCEEDED!",
    "done",
    "\u5b8c\u4e86",
]


@pytest.fixture
def watched(
    emulator: Any, isolated: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[[], Job]]:
    """Starts a job as a user does, on a provider whose jobs step each time the clock is moved."""
    upper = emulator.name.upper()
    monkeypatch.setenv(f"TUNEPORT_{upper}_BASE_URL", emulator.base_url)
    monkeypatch.setenv(f"{upper}_API_KEY", emulator.key)
    emulator.pace = 0.02
    workspace = JobService(Settings.load(isolated))

    def start() -> Job:
        spec = TuneSpec(model=MODELS[emulator.name], dataset=prepared_chats(tmp_path).training.path)
        row = workspace.submit(spec, backend=emulator.name)
        row = workspace.drive(row.id, until=lambda row: row.remote_id is not None, poll_seconds=0.02)
        assert row.remote_id is not None, row.error
        return Job(workspace, row)

    yield start
    workspace.close()


def test_user_error_is_an_end_and_not_pending(together: TogetherEmulator, connect: Connect, data: PreparedData) -> None:
    """brainwires-finetune fc242f2, `together.rs:81`: `_ => Pending` swallows `user_error` and `cancel_requested`, so a
    dead job is polled until a limit of 24 hours."""
    backend = connect(together)
    together.next_job(status="user_error", fails_with={"message": "no trainable tokens"})
    remote_id = submit(backend, together, data).remote_id
    together.advance(100)
    state = backend.fetch(remote_id)
    assert (state.status, state.raw_status) == (JobStatus.FAILED, "user_error")
    assert state.error is not None and (state.error.fault, state.error.retryable) == ("user", False)


def test_cancel_requested_is_neither_pending_nor_an_end(
    together: TogetherEmulator, connect: Connect, data: PreparedData
) -> None:
    """The other word that brainwires' `_ => Pending` swallows."""
    backend = connect(together)
    together.pace = 0
    spec = TuneSpec(model=MODELS["together"], dataset=data.training.path)
    files = list(backend.prepare(spec, data))
    together.pace = 60
    state = backend.cancel(backend.submit(spec, files, token=contract_job_token("t")).remote_id)
    assert (state.status, state.raw_status) == (JobStatus.CANCELLING, "cancel_requested")
    assert not state.status.terminal


def test_job_that_somebody_cancels_over_there_ends_the_waiting(
    emulator: Any, watched: Callable[[], Job], connect: Connect
) -> None:
    """LazyLLM 9d28284, `onlineChatModuleBase.py`: `while status != 'succeeded'` raises for `failed` alone, so a
    cancelled job is waited for without end."""
    emulator.next_job(pace=60)
    job = watched()
    connect(emulator).cancel(job.as_dict()["remote_id"])
    emulator.advance(200)
    with pytest.raises(JobFailedError, match="cancelled"):
        job.wait(timeout=60, poll_seconds=0.02)
    assert job.refresh().status is JobStatus.CANCELLED


def test_paused_is_a_status_like_others(openai: OpenAIEmulator, connect: Connect, data: PreparedData) -> None:
    """DSPy 4ed377e, `openai.py`: a dictionary of the SDK's words, so `paused`, which the API has and the SDK's type has
    not, is a KeyError."""
    openai.pace = 60
    backend = connect(openai)
    remote_id = submit(backend, openai, data).remote_id
    openai.advance(100)
    state = backend.pause(remote_id)
    assert (state.status, state.status.terminal) == (JobStatus.PAUSED, False)
    assert backend.fetch(remote_id).raw_status == "paused"
    assert list(backend.list_jobs())[0].status is JobStatus.PAUSED
    backend.resume(remote_id)
    openai.advance(1000)
    assert backend.fetch(remote_id).status is JobStatus.SUCCEEDED


TROUBLES: dict[str, dict[str, Any]] = {
    "500": {"status": 500},
    "502 as a web page": {"kind": "html", "status": 502},
    "200 as a web page": {"kind": "html", "status": 200},
    "404 as a web page": {"kind": "html", "status": 404},
    "404 of a route, Starlette's": {"status": 404, "body": {"detail": "Not Found"}},
    "404 of a route, OpenAI's": {"status": 404, "body": {"error": {"message": "Invalid URL (GET /v1/x)", "type": "x"}}},
    "404 of a route, Kong's": {"status": 404, "body": {"message": "no Route matched with those values"}},
    "404 of a route, Flask's": {"status": 404, "body": {"message": "Not Found"}},
    "404 of a route, Express's": {"status": 404, "body": {"error": "Cannot GET /v1/fine_tuning/jobs/x"}},
    "404 with an empty object": {"status": 404, "body": {}},
    "403": {"status": 403},
    "401": {"status": 401},
    "409": {"status": 409},
    "429": {"status": 429},
    "no answer": {"kind": "hang", "seconds": 5.0},
    "cut off": {"kind": "cut"},
    "dropped": {"kind": "drop"},
    "an empty object": {"status": 200, "body": {}},
    "a list": {"status": 200, "body": [None]},
    "a word": {"status": 200, "body": "gone"},
    "a job of nothing but an id": {"status": 200, "body": {"id": "ft-1"}},
    "a list of null": {"status": 200, "body": {"data": None, "object": "list"}},
}


@pytest.mark.parametrize("trouble", TROUBLES)
def test_no_trouble_is_read_as_no_such_job(emulator: Any, connect: Connect, data: PreparedData, trouble: str) -> None:
    """DSPy 4ed377e, `openai.py`: `does_job_exist` takes any exception for "no such job", so one network error ends the
    wait for a job that goes on, and is paid. Web frameworks and gateways answer an unknown route in JSON, too."""
    backend = connect(emulator, timeout=0.3)
    remote_id = submit(backend, emulator, data).remote_id
    for path in ("/fine*/**", "/fine-tunes"):
        emulator.fail(method="GET", path=path, times=None, **TROUBLES[trouble])
    with pytest.raises(TuneportError) as caught:
        backend.fetch(remote_id)
    assert not isinstance(caught.value, NotFoundError)
    assert isinstance(caught.value, ProviderError)
    assert backend.find(contract_job_token("fault")).answer == "unknown"
    emulator.clear_faults()
    assert backend.fetch(remote_id).remote_id == remote_id
    assert backend.find(contract_job_token("fault")).answer == "found"


def test_no_such_job_is_read_as_just_that(emulator: Any, connect: Connect, data: PreparedData) -> None:
    """So that the case above is not passed by never saying so."""
    backend = connect(emulator)
    with pytest.raises(NotFoundError):
        backend.fetch("ft-00000000-0000" if emulator.name == "together" else "ftjob-000000000000")
    assert backend.find(contract_job_token("never sent")) == Found.absent()


@pytest.mark.parametrize("word", FOREIGN_WORDS)
def test_foreign_word_is_running_and_said_once(
    emulator: Any, connect: Connect, data: PreparedData, word: str, caplog: pytest.LogCaptureFixture
) -> None:
    """litellm 1.110.2, `vertex_ai/fine_tuning/handler.py:117`: EXPIRED, CANCELLING and PARTIALLY_SUCCEEDED count as
    `queued`. Portkey 669825c: Bedrock's `Stopping` counts as `cancelled`, an end that is none yet."""
    statuses._reported.discard((emulator.name, word))
    emulator.pace = 0
    backend = connect(emulator)
    spec = TuneSpec(model=MODELS[emulator.name], dataset=data.training.path)
    files = list(backend.prepare(spec, data))
    emulator.next_job(raw_status=word, stuck="running", pace=60)
    remote_id = backend.submit(spec, files, token=contract_job_token(word)).remote_id
    emulator.advance(10_000)
    with caplog.at_level(logging.WARNING, logger="tuneport.backends.hosted.statuses"):
        seen = [backend.fetch(remote_id), *backend.list_jobs(), backend.find(contract_job_token(word)).state]
        seen += dict(backend.fetch_many([remote_id])).values()
    for state in seen:
        assert (state.status, state.raw_status) == (JobStatus.RUNNING, word)
        assert state.error is None and state.finished_at is None
    said = [record.getMessage() for record in caplog.records if repr(word) in record.getMessage()]
    assert len(said) == 1 and "treating the job as running" in said[0]


def test_foreign_word_keeps_a_job_going_until_its_real_end(emulator: Any, watched: Callable[[], Job]) -> None:
    emulator.next_job(raw_status="expired", pace=0.05)
    job = watched()
    assert job.wait(timeout=60, poll_seconds=0.02).status is JobStatus.SUCCEEDED


@pytest.mark.parametrize(
    "error",
    [
        {},
        {"code": None, "message": None, "param": None},
        {"code": "none", "message": "", "param": None},
        {"code": "warning", "message": "3 rows were left out", "param": "training_file"},
    ],
)
def test_error_object_is_no_verdict(emulator: Any, connect: Connect, data: PreparedData, error: dict[str, Any]) -> None:
    """A real answer of 2025-05 carries `error: {}` on success, an older one an object of nulls: a client that asks
    whether the field is null reports a failure, and the model that was paid for is not found."""
    backend = connect(emulator)
    remote_id = submit(backend, emulator, data).remote_id
    emulator.advance(1000)
    path = f"/fine_tuning/jobs/{remote_id}" if emulator.name == "openai" else f"/fine-tunes/{remote_id}"
    backend.fetch(remote_id)
    body = {**json.loads(emulator.requests("GET", path)[-1].response_body), "error": error}
    body |= {"a_field_of_tomorrow": {"deep": [1, None]}}
    emulator.fail(method="GET", path=path, status=200, body=body)
    state = backend.fetch(remote_id)
    assert (state.status, state.error) == (JobStatus.SUCCEEDED, None)
    assert state.tuned_model is not None


def test_events_of_a_kind_that_nobody_knows_are_kept(emulator: Any, connect: Connect, data: PreparedData) -> None:
    """Together has over thirty kinds of event in two spellings, and OpenAI's may be null."""
    odd: dict[str, Any] = {"type": "of_tomorrow", "level": "legacy_itomorrow", "message": "something new", "extra": 5}
    odd |= {"id": "ftevent-odd", "created_at": 1_790_000_000, "object": "fine_tuning.job.event", "data": None}
    if emulator.name == "together":
        odd["created_at"] = "2026-09-01T00:00:00Z"
    emulator.next_job(events=[odd])
    backend: FineTuneBackend = connect(emulator)
    remote_id = submit(backend, emulator, data).remote_id  # type: ignore[arg-type]
    emulator.advance(1000)
    (event,) = [event for event in backend.events(remote_id) if event.message == "something new"]
    assert (event.type, event.level) == ("of_tomorrow", "info")


@pytest.mark.parametrize("moment", ["soon", "", "2026-13-45", 9e18, -1e300, True, {"at": 1}])
def test_date_that_is_none_does_not_hide_the_job(
    emulator: Any, connect: Connect, data: PreparedData, moment: Any
) -> None:
    """A field that cannot be read is no reason to lose sight of a job that costs money."""
    backend = connect(emulator)
    remote_id = submit(backend, emulator, data).remote_id
    emulator.advance(1000)
    backend.fetch(remote_id)
    path = f"/fine_tuning/jobs/{remote_id}" if emulator.name == "openai" else f"/fine-tunes/{remote_id}"
    body = json.loads(emulator.requests("GET", path)[-1].response_body)
    body |= {"finished_at": moment, "estimated_finish": moment, "updated_at": moment}
    emulator.fail(method="GET", path=path, status=200, body=body)
    assert backend.fetch(remote_id).status is JobStatus.SUCCEEDED


def test_trouble_with_one_job_is_not_a_trouble_of_all(emulator: Any, connect: Connect, data: PreparedData) -> None:
    """Kiln 66cbe9d reads a network error as `unknown`; here the one job's error is told beside the others' states."""
    backend = connect(emulator)
    first = submit(backend, emulator, data, "first").remote_id
    second = submit(backend, emulator, data, "second").remote_id
    path = f"/fine_tuning/jobs/{first}" if emulator.name == "openai" else f"/fine-tunes/{first}"
    emulator.fail(method="GET", path=path, status=500, times=None)
    answers = dict(backend.fetch_many([first, second]))
    assert isinstance(answers[first], UnavailableError)
    assert answers[second].remote_id == second
