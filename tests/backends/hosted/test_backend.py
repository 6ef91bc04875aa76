"""What the hosted backends make of a provider in trouble, each as it comes over the wire."""

from __future__ import annotations

import json
import logging
import socket
import traceback
from collections.abc import Callable
from typing import Any

import pytest

from tests.support.waiting import until
from tuneport.backends.hosted.backend import HostedBackend
from tuneport.backends.hosted.provider_errors import redact_provider_url
from tuneport.errors import (
    AuthError,
    NotFoundError,
    ProviderError,
    QuotaError,
    RateLimitError,
    RejectedError,
    UnavailableError,
)
from tuneport.testing.contract import contract_job_token
from tuneport.types import JobState, JobStatus, PreparedData, TuneSpec

MODELS = {"openai": "gpt-4.1-mini-2025-04-14", "together": "Qwen/Qwen3.5-4B"}
JOBS = {"openai": "/fine_tuning/jobs", "together": "/fine-tunes"}
VARIABLES = {"openai": "OPENAI", "together": "TOGETHER"}


def spec_of(emulator: Any, data: PreparedData, **more: Any) -> TuneSpec:
    return TuneSpec(model=MODELS[emulator.name], dataset=data.training.path, **more)


def submit(backend: HostedBackend, emulator: Any, data: PreparedData, word: str = "fault", **more: Any) -> JobState:
    spec = spec_of(emulator, data, **more)
    # Validation takes its time at Together, and the clock is ours.
    emulator.advance(10)
    files = list(backend.prepare(spec, data))
    return backend.submit(spec, files, token=contract_job_token(word))


@pytest.fixture
def ready(emulator: Any, data: PreparedData, connect: Callable[..., Any]) -> tuple[HostedBackend, TuneSpec, list[Any]]:
    """A backend, a spec and its files, already validated: all but the submit."""
    emulator.pace = 0
    backend, spec = connect(emulator), spec_of(emulator, data)
    files = list(backend.prepare(spec, data))
    emulator.pace = 60
    return backend, spec, files


def posts(emulator: Any) -> int:
    return len(emulator.requests("POST", JOBS[emulator.name]))


# --- reads are tried again, as the server wishes ---------------------------------------------------------------------


def test_rate_limit_is_waited_out_as_long_as_the_server_asks(emulator: Any, ready: Any) -> None:
    backend, spec, files = ready
    remote_id = backend.submit(spec, files, token=contract_job_token("a")).remote_id
    emulator.fail(method="GET", path=f"{JOBS[emulator.name]}/*", status=429, times=2, headers={"retry-after": "7"})
    assert backend.fetch(remote_id).remote_id == remote_id
    assert backend.waits == [7.0, 7.0]


def test_server_error_is_ridden_out_with_growing_waits(emulator: Any, ready: Any) -> None:
    backend, spec, files = ready
    remote_id = backend.submit(spec, files, token=contract_job_token("a")).remote_id
    emulator.fail(method="GET", path=f"{JOBS[emulator.name]}/*", status=500, times=3)
    assert backend.fetch(remote_id).remote_id == remote_id
    assert len(backend.waits) == 3
    assert backend.waits == sorted(backend.waits) and 0.5 <= backend.waits[0] <= 0.75


def test_server_error_that_stays_is_told_after_four_tries(emulator: Any, connect: Callable[..., Any]) -> None:
    backend = connect(emulator)
    emulator.fail(method="GET", path=f"{JOBS[emulator.name]}/*", status=503, times=None)
    with pytest.raises(UnavailableError, match=f"{emulator.name} answered 503") as caught:
        backend.fetch("ft-1")
    assert len(emulator.requests("GET", f"{JOBS[emulator.name]}/*")) == 4
    assert (caught.value.http_status, caught.value.retryable) == (503, True)


def test_wait_beyond_a_minute_is_left_to_the_caller(emulator: Any, connect: Callable[..., Any]) -> None:
    backend = connect(emulator)
    emulator.fail(method="GET", path=f"{JOBS[emulator.name]}/*", status=429, times=None, headers={"retry-after": "300"})
    with pytest.raises(RateLimitError) as caught:
        backend.fetch("ft-1")
    assert caught.value.retry_after == 300.0
    assert backend.waits == []


def test_wrong_key_is_told_at_once_and_not_repeated(emulator: Any, connect: Callable[..., Any]) -> None:
    key = "sk-wrong-9876543210fedcba"
    backend = connect(emulator, key=key)
    with pytest.raises(AuthError, match=f"{VARIABLES[emulator.name]}_API_KEY") as caught:
        backend.fetch("ft-1")
    assert len(emulator.log) == 1
    assert (caught.value.http_status, caught.value.retryable, caught.value.exit_code) == (401, False, 2)
    assert key not in str(caught.value) and "fedcba" not in str(caught.value)


@pytest.mark.parametrize("echo", ["Incorrect API key provided: {key}.", "Bearer {key} is not known", "no {key} here"])
@pytest.mark.parametrize("key", ["sk-looks-like-a-key-0123", "9f8e7d6c5b4a"])
def test_key_that_the_provider_repeats_is_in_no_text(
    emulator: Any, connect: Callable[..., Any], echo: str, key: str
) -> None:
    backend = connect(emulator, key=key)
    body = {"error": {"message": echo.format(key=key), "type": "invalid_request_error", "code": key}}
    for status in (400, 401, 403, 404, 429, 500):
        emulator.fail(method="GET", path="**", status=status, times=None, body=body)
        with pytest.raises(ProviderError) as caught:
            backend.fetch("ft-1")
        whole = "".join(traceback.format_exception(caught.value)) + json.dumps(caught.value.as_dict())
        assert key not in whole
        emulator.clear_faults()


@pytest.mark.parametrize("blemish", ["\n", " ", "\u00e9", "\x00"])
def test_key_that_fits_no_header_is_told_by_its_variable(
    emulator: Any, connect: Callable[..., Any], blemish: str
) -> None:
    backend = connect(emulator, key=f"sk-supersecret-0123{blemish}")
    with pytest.raises(AuthError, match=f"{VARIABLES[emulator.name]}_API_KEY") as caught:
        backend.fetch("ft-1")
    assert "supersecret" not in "".join(traceback.format_exception(caught.value))
    assert emulator.log == []


@pytest.mark.parametrize("key", ["9f8e7d6c5b4a", "quo'te\\9f8e7d6c"])
@pytest.mark.parametrize("link", ["cause", "context", "cause of the context"])
def test_key_in_what_caused_an_error_is_in_no_traceback(
    emulator: Any, connect: Callable[..., Any], key: str, link: str
) -> None:
    backend = connect(emulator, key=key)

    def illegal_header() -> None:
        try:
            raise RuntimeError(f"Illegal header value {f'Bearer {key}'.encode()!r}")
        except RuntimeError as error:
            if link == "cause":
                raise ValueError("the request failed") from error
            if link == "context":
                raise ValueError("the request failed")  # noqa: B904 - that is the case
            try:
                raise KeyError("headers") from error
            except KeyError:
                raise ValueError("the request failed")  # noqa: B904

    with pytest.raises(UnavailableError) as caught:
        backend._once(illegal_header)
    whole = "".join(traceback.format_exception(caught.value))
    assert key not in whole and repr(key)[1:-1] not in whole and "Illegal header" not in whole


def test_what_caused_an_error_shows_where_it_holds_no_key(emulator: Any, connect: Callable[..., Any]) -> None:
    with pytest.raises(UnavailableError) as caught:
        connect(emulator)._once(lambda: {}["no such field"])
    assert isinstance(caught.value.__cause__, KeyError)


def test_password_in_the_address_is_in_no_text(emulator: Any, connect: Callable[..., Any]) -> None:
    address = emulator.base_url.replace("://", "://me:hunter2@")
    backend = connect(emulator, base_url=address)
    emulator.fail("html", method="GET", path="**", status=200, times=None)
    errors = []
    for _ in range(2):  # with an answer that is none, and with nobody there
        with pytest.raises(UnavailableError) as caught:
            backend.fetch("ft-1")
        errors.append(caught.value)
        backend = connect(emulator, base_url="http://me:hunter2@127.0.0.1:9/v1")
    for text in [repr(backend), *("".join(traceback.format_exception(error)) for error in errors)]:
        assert "hunter2" not in text and "://***@127.0.0.1" in text


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://api.openai.com/v1", "https://api.openai.com/v1"),
        ("https://me:p/a@s:s@host:8/v1", "https://***@host:8/v1"),
        ("https://token@host/v1", "https://***@host/v1"),
        ("https://host/v1?api-version=3&api-key=abc&x=1", "https://host/v1?api-version=3&api-key=***&x=1"),
    ],
)
def test_address_is_shown_without_its_secrets(url: str, shown: str) -> None:
    assert redact_provider_url(url) == shown


# --- not the provider's answer at all --------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [200, 403, 404, 502])
def test_web_page_is_not_taken_for_an_answer(emulator: Any, connect: Callable[..., Any], status: int) -> None:
    backend = connect(emulator)
    emulator.fail("html", method="GET", path="**", status=status, times=None)
    with pytest.raises(UnavailableError) as caught:
        backend.fetch("ft-1")
    message = str(caught.value)
    assert "did not answer in JSON" in message or "answered 502" in message
    assert "<" not in message and "\n" not in message


def test_json_of_another_kind_is_not_taken_for_an_answer(emulator: Any, connect: Callable[..., Any]) -> None:
    backend = connect(emulator)
    for body in ({"ok": True}, [], None, "fine"):
        emulator.fail(method="GET", path="**", status=200, times=4, body=body)
        with pytest.raises(UnavailableError, match=f"TUNEPORT_{VARIABLES[emulator.name]}_BASE_URL"):
            backend.fetch("ft-1")
        emulator.clear_faults()


def test_server_that_hangs_is_given_up(emulator: Any, connect: Callable[..., Any]) -> None:
    backend = connect(emulator, timeout=0.1)
    emulator.fail("hang", method="GET", path="**", times=None)
    with pytest.raises(UnavailableError, match="no answer within the time limit"):
        backend.fetch("ft-1")


def test_half_an_answer_is_no_answer(emulator: Any, ready: Any) -> None:
    backend, spec, files = ready
    remote_id = backend.submit(spec, files, token=contract_job_token("a")).remote_id
    emulator.fail("cut", method="GET", path=f"{JOBS[emulator.name]}/*", times=1)
    assert backend.fetch(remote_id).remote_id == remote_id
    assert len(backend.waits) == 1


def test_server_that_is_down_is_named_with_its_variable(emulator: Any, connect: Callable[..., Any]) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{free.getsockname()[1]}"
    backend = connect(emulator, base_url=address)
    with pytest.raises(UnavailableError) as caught:
        backend.fetch("ft-1")
    variable = f"TUNEPORT_{VARIABLES[emulator.name]}_BASE_URL"
    wanted = f"{emulator.name} at {address} cannot be reached: connection refused; check {variable} or try again"
    assert str(caught.value) == wanted


# --- the call that spends money --------------------------------------------------------------------------------------


def test_submit_posts_once(emulator: Any, ready: Any) -> None:
    backend, spec, files = ready
    backend.submit(spec, files, token=contract_job_token("once"))
    assert posts(emulator) == emulator.jobs_created == 1
    assert all(
        exchange.request_headers["x-tuneport-hop"] == "1" for exchange in emulator.log if "storage" not in exchange.path
    )


@pytest.mark.parametrize(
    "fault",
    [
        {"kind": "status", "status": 500},
        {"kind": "status", "status": 503, "headers": {"retry-after": "1", "x-should-retry": "true"}},
        {"kind": "html", "status": 200},
        {"kind": "html", "status": 502},
        {"kind": "drop"},
        {"kind": "drop_after_accept"},
        {"kind": "cut"},
        {"kind": "slow", "seconds": 0.5},
        {"kind": "hang", "seconds": 0.5},
    ],
    ids=lambda fault: f"{fault['kind']}-{fault.get('status', '')}",
)
def test_doubtful_submit_is_never_sent_twice(
    emulator: Any, ready: Any, connect: Callable[..., Any], fault: dict[str, Any]
) -> None:
    _, spec, files = ready
    backend = connect(emulator, timeout=0.2)
    emulator.fail(method="POST", path=JOBS[emulator.name], times=None, **fault)
    with pytest.raises(UnavailableError):
        backend.submit(spec, files, token=contract_job_token("doubt"))
    until(lambda: posts(emulator) >= 1)  # a slow exchange is logged when it is over
    assert (posts(emulator), backend.waits) == (1, [])
    emulator.clear_faults()
    found = connect(emulator).find(contract_job_token("doubt"))
    assert found.answer == ("found" if emulator.jobs_created else "absent")


def test_refused_submit_is_known_not_to_have_started(emulator: Any, ready: Any) -> None:
    backend, spec, files = ready
    emulator.fail(method="POST", path=JOBS[emulator.name], status=429, times=None, headers={"retry-after": "1"})
    with pytest.raises(RateLimitError) as caught:
        backend.submit(spec, files, token=contract_job_token("limit"))
    assert caught.value.retryable
    assert (posts(emulator), emulator.jobs_created, backend.waits) == (1, 0, [])


def test_submit_that_could_not_leave_is_known_not_to_have_started(emulator: Any, ready: Any) -> None:
    backend, spec, files = ready
    emulator.stop()
    with pytest.raises(ProviderError, match="nothing was started") as caught:
        backend.submit(spec, files, token=contract_job_token("down"))
    assert not isinstance(caught.value, UnavailableError)
    assert caught.value.retryable


def test_find_in_trouble_does_not_know(emulator: Any, ready: Any) -> None:
    backend, spec, files = ready
    backend.submit(spec, files, token=contract_job_token("known"))
    for fault in ({"status": 500}, {"status": 401}, {"status": 429}, {"kind": "html", "status": 200}, {"kind": "drop"}):
        emulator.fail(method="GET", path=JOBS[emulator.name], times=None, **fault)
        found = backend.find(contract_job_token("known"))
        assert found.answer == "unknown" and found.reason
        emulator.clear_faults()
    assert backend.find(contract_job_token("known")).answer == "found"


def test_list_that_lags_says_absent_until_it_shows(emulator: Any, ready: Any) -> None:
    backend, spec, files = ready
    emulator.list_lag = 5
    backend.submit(spec, files, token=contract_job_token("lag"))
    assert backend.find(contract_job_token("lag")).answer == "absent"
    emulator.advance(6)
    assert backend.find(contract_job_token("lag")).answer == "found"


# --- words that nobody knows -----------------------------------------------------------------------------------------


def test_unknown_status_counts_as_running_and_is_logged_once(
    emulator: Any, ready: Any, caplog: pytest.LogCaptureFixture
) -> None:
    backend, spec, files = ready
    word = f"simmering_{emulator.name}"
    emulator.next_job(raw_status=word, stuck="running")
    remote_id = backend.submit(spec, files, token=contract_job_token("word")).remote_id
    emulator.advance(1000)
    with caplog.at_level(logging.WARNING):
        states = [backend.fetch(remote_id) for _ in range(3)]
    assert {(state.status, state.raw_status) for state in states} == {(JobStatus.RUNNING, word)}
    assert sum(word in record.message for record in caplog.records) == 1


# --- refusals that have a name ---------------------------------------------------------------------------------------


def test_winding_down_is_told_with_what_to_do(openai: Any, data: PreparedData, connect: Callable[..., Any]) -> None:
    openai.refuse = "training_not_available"
    with pytest.raises(RejectedError, match="--backend NAME") as caught:
        submit(connect(openai), openai, data)
    assert "winding" in str(caught.value)
    assert (caught.value.http_status, caught.value.code, caught.value.retryable) == (
        403,
        "training_not_available",
        False,
    )
    assert (len(openai.requests("POST", "/fine_tuning/jobs")), openai.jobs_created) == (1, 0)


def test_missing_quota_is_not_waited_for(openai: Any, data: PreparedData, connect: Callable[..., Any]) -> None:
    openai.refuse, backend = "insufficient_quota", connect(openai)
    with pytest.raises(QuotaError) as caught:
        submit(backend, openai, data)
    assert (caught.value.retryable, backend.waits) == (False, [])
    body = {"error": {"message": "You exceeded your current quota", "type": "insufficient_quota", "code": None}}
    openai.fail(method="GET", path="/fine_tuning/jobs/*", status=429, body=body, times=None)
    with pytest.raises(QuotaError):
        backend.fetch("ftjob-1")
    assert len(openai.requests("GET", "/fine_tuning/jobs/*")) == 1


def test_daily_limit_is_not_waited_for(openai: Any, data: PreparedData, connect: Callable[..., Any]) -> None:
    openai.refuse, backend = "daily_rate_limit_exceeded", connect(openai)
    with pytest.raises(RateLimitError, match="tomorrow") as caught:
        submit(backend, openai, data)
    assert (caught.value.retryable, backend.waits) == (False, [])


def test_forbidden_is_a_matter_of_the_key(emulator: Any, connect: Callable[..., Any]) -> None:
    body = {"error": {"message": "You have insufficient permissions", "type": "invalid_request_error", "code": None}}
    emulator.fail(method="GET", path="**", status=403, body=body)
    with pytest.raises(AuthError, match="lacks a permission"):
        connect(emulator).fetch("ft-1")


def test_wrong_address_is_no_missing_job(emulator: Any, connect: Callable[..., Any]) -> None:
    backend = connect(emulator, base_url=f"{emulator.origin}/elsewhere")
    with pytest.raises(RejectedError, match=f"TUNEPORT_{VARIABLES[emulator.name]}_BASE_URL") as caught:
        backend.fetch("ft-1")
    assert not isinstance(caught.value, NotFoundError)


# --- files -----------------------------------------------------------------------------------------------------------


def test_upload_whose_answer_was_lost_is_found_again(
    emulator: Any, data: PreparedData, connect: Callable[..., Any]
) -> None:
    emulator.pace, backend = 0, connect(emulator)
    emulator.fail("drop_after_accept", method="POST", path="/files")
    files = list(backend.prepare(spec_of(emulator, data), data))
    assert len(list(backend.list_files())) == len(files) == 1
    assert backend.read_file(files[0].id) == data.training.path.read_bytes()


# --- chats -----------------------------------------------------------------------------------------------------------


def test_stream_that_breaks_off_is_an_error(emulator: Any, connect: Callable[..., Any]) -> None:
    backend = connect(emulator)
    emulator.fail("cut", method="POST", path="/chat/completions")
    pieces = backend.complete(MODELS[emulator.name], [{"role": "user", "content": "Hello"}], stream=True)
    with pytest.raises(UnavailableError):
        list(pieces)
