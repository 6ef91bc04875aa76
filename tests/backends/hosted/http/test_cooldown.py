"""A server that asks to be left alone is; and answers that a careless client would take for something else."""

from __future__ import annotations

import time
from collections.abc import Callable
from email.utils import formatdate
from typing import Any

import pytest

from tuneport.backends.hosted.http.cooldown import ProviderCooldown
from tuneport.errors import NotFoundError, RateLimitError, UnavailableError
from tuneport.testing.contract import prepared_chats
from tuneport.types import TuneSpec

MODELS = {"openai": "gpt-4.1-mini-2025-04-14", "together": "Qwen/Qwen3.5-4B"}


def refusal(asked: float, **more: Any) -> RateLimitError:
    return RateLimitError("too many", provider="p", retry_after=asked, **more)


def test_what_is_limited_separately_is_held_separately() -> None:
    moment = [0.0]
    cooldown = ProviderCooldown("p", lambda: moment[0])
    cooldown.record("chat", refusal(10))
    cooldown.check("read")
    cooldown.check("start")
    cooldown.record("start", refusal(100))
    cooldown.check("read")
    cooldown.record("read", refusal(20))
    for kind, left in (("read", 20.0), ("start", 100.0), ("chat", 10.0)):
        with pytest.raises(RateLimitError) as caught:
            cooldown.check(kind)  # type: ignore[arg-type]
        assert caught.value.retry_after == left and caught.value.retryable
    moment[0] = 50.0
    cooldown.check("read")
    cooldown.check("chat")


def test_an_overloaded_service_is_not_even_asked_what_became_of_a_start() -> None:
    cooldown = ProviderCooldown("p", lambda: 0.0)
    cooldown.record("start", UnavailableError("503", provider="p", retry_after=5))
    with pytest.raises(RateLimitError):
        cooldown.check("read")


def test_a_limit_of_the_day_holds_nothing_else_up() -> None:
    cooldown = ProviderCooldown("p", lambda: 0.0)
    cooldown.record("start", refusal(86_400, retryable=False))
    cooldown.check("start")


def test_a_later_answer_does_not_shorten_what_an_earlier_one_asked_for() -> None:
    cooldown = ProviderCooldown("p", lambda: 0.0)
    cooldown.record("read", refusal(300))
    cooldown.record("read", UnavailableError("503", provider="p", retry_after=1))
    assert cooldown.remaining("read") == 300.0


def test_what_was_asked_for_earlier_is_waited_for_and_costs_no_try(emulator: Any, connect: Callable[..., Any]) -> None:
    backend = connect(emulator)
    backend._cooldown.record("read", refusal(20))  # what another thread was told
    emulator.fail(status=503, times=3)
    assert list(backend.list_jobs()) == []
    assert backend.waits[0] == 20.0 and len(emulator.log) == 4


@pytest.mark.parametrize(
    "headers",
    [
        {"retry-after": "1" + "0" * 20},
        {"retry-after": "9" * 400},
        {"retry-after-ms": "1e30"},
        {"retry-after": "Fri, 31 Dec 9999 23:59:59 GMT"},
    ],
)
def test_no_server_asks_for_more_than_a_day(
    emulator: Any, connect: Callable[..., Any], headers: dict[str, str]
) -> None:
    emulator.fail(status=429, headers=headers)
    with pytest.raises(RateLimitError) as caught:
        list(connect(emulator).list_files())
    assert caught.value.retry_after == 86_400


def test_a_wait_longer_than_a_read_may_last_is_told_and_kept(emulator: Any, connect: Callable[..., Any]) -> None:
    backend = connect(emulator)
    emulator.fail(status=429, headers={"retry-after": "300"})
    with pytest.raises(RateLimitError) as caught:
        list(backend.list_files())
    assert caught.value.retry_after == 300
    with pytest.raises(RateLimitError, match="try again in 300 s"):
        list(backend.list_jobs())
    assert len(emulator.log) == 1 and backend.waits == []
    backend.waits.append(300.0)
    assert list(backend.list_jobs()) == []


def test_a_date_is_reckoned_from_the_servers_clock(emulator: Any, connect: Callable[..., Any]) -> None:
    backend, theirs = connect(emulator), time.time() - 7200
    headers = {"date": formatdate(theirs, usegmt=True), "retry-after": formatdate(theirs + 30, usegmt=True)}
    emulator.fail(status=429, headers=headers)
    assert list(backend.list_files()) == []
    assert backend.waits == [30.0]


@pytest.mark.parametrize("asked", ["0", "Wed, 21 Oct 2015 07:28:00 GMT", "soon"])
def test_no_time_asked_for_is_a_pause_all_the_same(emulator: Any, connect: Callable[..., Any], asked: str) -> None:
    backend = connect(emulator)
    emulator.fail(status=429, times=3, headers={"retry-after": asked})
    assert list(backend.list_files()) == []
    assert len(backend.waits) == 3 and min(backend.waits) >= 0.5 and backend.waits == sorted(backend.waits)


def test_a_conflict_passes(emulator: Any, connect: Callable[..., Any]) -> None:
    backend = connect(emulator)
    emulator.fail(status=409)
    assert list(backend.list_files()) == [] and len(backend.waits) == 1


def test_a_redirect_to_nowhere_is_no_verdict(emulator: Any, connect: Callable[..., Any]) -> None:
    emulator.fail(status=300, times=None)
    with pytest.raises(UnavailableError, match="redirect"):
        list(connect(emulator).list_files())


def test_deleting_what_is_gone_after_a_lost_answer_is_done(
    emulator: Any, connect: Callable[..., Any], tmp_path: Any
) -> None:
    backend, data = connect(emulator), prepared_chats(tmp_path)
    emulator.pace = 0
    (file,) = backend.prepare(TuneSpec(model=MODELS[emulator.name], dataset=data.training.path), data)
    emulator.fail("reset_after_accept", method="DELETE")
    backend.delete_file(file.id)
    with pytest.raises(NotFoundError):
        backend.delete_file(file.id)


def test_an_upload_that_broke_off_before_its_last_request_is_finished(
    together: Any, connect: Callable[..., Any], tmp_path: Any
) -> None:
    data = prepared_chats(tmp_path)
    spec = TuneSpec(model=MODELS["together"], dataset=data.training.path)
    together.pace = 0
    together.fail("drop", path="/files/*/preprocess", times=None)
    with pytest.raises(UnavailableError):
        list(connect(together).prepare(spec, data))
    together.clear_faults()
    backend = connect(together)
    assert len(list(backend.prepare(spec, data))) == 1
    assert len(together.accepted_uploads) == 1 and backend.waits == []


def test_an_answer_without_a_list_is_not_an_empty_list(emulator: Any, connect: Callable[..., Any]) -> None:
    emulator.fail("shape", times=None)
    with pytest.raises(UnavailableError):
        list(connect(emulator).list_files())
