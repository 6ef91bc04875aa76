"""Message Batches: half the price, sent once whatever happens, each row's own answer or error."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tuneport.backends.anthropic import batches
from tuneport.backends.anthropic.batches import message_batch_error, split_message_requests
from tuneport.errors import ProviderError, QuotaError, RateLimitError, RejectedError, UnavailableError
from tuneport.testing.emulators import AnthropicEmulator
from tuneport.types import Completion

HAIKU = "claude-haiku-4-5"


@pytest.fixture
def anthropic(anthropic: AnthropicEmulator) -> AnthropicEmulator:
    anthropic.pace = 0.05
    anthropic.answer = lambda asked: asked.upper()
    return anthropic


@pytest.fixture(autouse=True)
def conforming(anthropic: AnthropicEmulator) -> Iterator[None]:
    from tests.support.anthropic_types import sdk_complaints  # a second to import

    yield
    assert sdk_complaints(anthropic.log) == []


@pytest.fixture
def many(anthropic: AnthropicEmulator, connect: Callable[..., Any]) -> Callable[..., list[Completion | ProviderError]]:
    """Asks with a new backend, as another process would; its waits move the emulator's clock."""

    def ask(words: list[str], **options: Any) -> list[Completion | ProviderError]:
        backend = connect(anthropic, batches=True, batch_poll_interval=0.1)
        backend._sleep = anthropic.advance
        asked = [[{"role": "user", "content": word}] for word in words]
        return list(backend.complete_many(HAIKU, asked, **{"max_tokens": 9, "temperature": 0.0} | options))

    return ask


def texts(answers: list[Completion | ProviderError]) -> list[str]:
    return [each.text if isinstance(each, Completion) else type(each).__name__ for each in answers]


def journals() -> list[Path]:
    return sorted((Path.cwd() / "home" / "batches").glob("*.json"))


def test_all_rows_go_in_one_batch_and_come_back_in_order(
    anthropic: AnthropicEmulator, many: Callable[..., Any]
) -> None:
    answers = many(["a", "b", "c", "a"])
    assert texts(answers) == ["A", "B", "C", "A"]
    assert anthropic.jobs_created == 1 and anthropic.answered == 3, "an equal question is asked once"
    assert anthropic.requests("POST", "/messages") == [] and journals() == []
    assert all(answer.prompt_tokens and answer.finish_reason == "stop" for answer in answers)


def test_who_waits_is_told_that_it_may_be_stopped(
    anthropic: AnthropicEmulator, many: Callable[..., Any], caplog: pytest.LogCaptureFixture
) -> None:
    anthropic.pace = 1.0
    many(["a", "b"])
    (told,) = [each.getMessage() for each in caplog.records if each.name.endswith("anthropic.batches")]
    assert next(iter(anthropic.batches)) in told and "goes on with the same batch" in told


def test_each_row_has_its_own_error(anthropic: AnthropicEmulator, many: Callable[..., Any]) -> None:
    anthropic.outcomes = {1: "expired", 2: "overloaded_error", 3: "invalid_request_error"}
    answers = many(["a", "b", "c", "d", "", "e"])
    assert texts(answers) == ["A", "UnavailableError", "UnavailableError", "RejectedError", "RejectedError", "E"]
    assert "bills nothing for it; run it again" in str(answers[1]) and "Emulated" in str(answers[3])
    assert "non-empty" in str(answers[4])
    assert texts(many(["b", "c"])) == ["B", "C"] and anthropic.jobs_created == 2, "only what failed is sent again"


def test_a_row_that_cannot_be_said_is_refused_and_the_others_are_asked(
    anthropic: AnthropicEmulator, connect: Callable[..., Any]
) -> None:
    backend = connect(anthropic, batches=True, batch_poll_interval=0.01)
    backend._sleep = anthropic.advance
    asked = [{"role": "user", "content": "a"}, {"role": "user", "name": "Ada", "content": "b"}]
    answers = list(backend.complete_many(HAIKU, [[each] for each in asked], max_tokens=9))
    assert texts(answers) == ["A", "RejectedError"] and "name" in str(answers[1])
    assert len(anthropic.requests("POST", "/messages/batches")[0].request_json()["requests"]) == 1


def test_killed_while_it_waits_it_goes_on_with_the_same_batch(
    anthropic: AnthropicEmulator, connect: Callable[..., Any], many: Callable[..., Any]
) -> None:
    backend = connect(anthropic, batches=True)

    def killed(seconds: float) -> None:
        raise KeyboardInterrupt

    backend._sleep = killed
    anthropic.pace = 5
    asked = [[{"role": "user", "content": word}] for word in "abc"]
    with pytest.raises(KeyboardInterrupt):
        list(backend.complete_many(HAIKU, asked, max_tokens=9, temperature=0.0))
    assert len(journals()) == 1
    assert texts(many(["c", "b", "d"])) == ["C", "B", "D"], "what is kept elsewhere by now is not asked for again"
    assert anthropic.jobs_created == 2 and anthropic.answered == 4 and journals() == []


def test_killed_between_the_intent_and_the_answer(
    anthropic: AnthropicEmulator, many: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(answer: object) -> str:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(batches, "read_provider_id", killed)
        with pytest.raises(KeyboardInterrupt):
            many(["a", "b"])
    assert json.loads(journals()[0].read_text())["id"] is None and anthropic.jobs_created == 1
    assert texts(many(["a", "b"])) == ["A", "B"] and anthropic.jobs_created == 1


@pytest.mark.parametrize("lag", [0.0, 20.0])
def test_lost_reply_is_adopted_and_nothing_is_sent_twice(
    anthropic: AnthropicEmulator, many: Callable[..., Any], lag: float
) -> None:
    assert texts(many(["x", "y"])) == ["X", "Y"]  # of the same size, and another's as far as is known
    anthropic.list_lag = lag
    anthropic.fail("drop_after_accept", method="POST", path="/messages/batches")
    assert texts(many(["a", "b"])) == ["A", "B"]
    assert anthropic.jobs_created == 2 and journals() == []


def test_a_batch_that_was_not_made_leaves_nothing(anthropic: AnthropicEmulator, many: Callable[..., Any]) -> None:
    anthropic.fail("drop", method="POST", path="/messages/batches")
    with pytest.raises(UnavailableError, match="no batch was made: run it again"):
        many(["a"])
    anthropic.fail("status", status=429, method="POST", path="/messages/batches")
    with pytest.raises(RateLimitError):
        many(["a"])
    assert journals() == [] and anthropic.jobs_created == 0
    assert texts(many(["a"])) == ["A"]


def test_a_row_that_no_credit_was_left_for_is_no_refused_prompt() -> None:
    told = {"type": "invalid_request_error", "message": "Your credit balance is too low to access the API."}
    error = message_batch_error("anthropic", {"type": "errored", "error": {"type": "error", "error": told}})
    assert isinstance(error, QuotaError)


def test_canceled_elsewhere(anthropic: AnthropicEmulator, connect: Callable[..., Any]) -> None:
    backend = connect(anthropic, batches=True)
    anthropic.pace = 1000
    backend._sleep = lambda seconds: backend.client.messages.batches.cancel(next(iter(anthropic.batches)))
    (answer,) = backend.complete_many(HAIKU, [[{"role": "user", "content": "a"}]], max_tokens=9)
    assert isinstance(answer, UnavailableError) and not isinstance(answer, RejectedError)
    assert "canceled" in str(answer)


def test_limits_split_what_is_sent() -> None:
    rows = {str(number): {"text": "x" * 100} for number in range(10)}
    assert [len(part) for part in split_message_requests(rows, most=4)] == [4, 4, 2]
    assert [len(part) for part in split_message_requests(rows, most_bytes=500)] == [2] * 5
    assert {key for part in split_message_requests(rows, most_bytes=1) for key in part} == set(rows)
    assert list(split_message_requests({})) == []


def test_key_goes_to_no_other_server(anthropic: AnthropicEmulator, many: Callable[..., Any]) -> None:
    shown = anthropic._shown

    def elsewhere(batch: Any) -> dict[str, Any]:
        return shown(batch) | {"results_url": "http://127.0.0.1:9/results"}

    anthropic._shown = elsewhere  # type: ignore[method-assign]
    assert texts(many(["a"])) == ["A"]


def test_without_the_option_chats_are_asked_at_the_same_time(
    anthropic: AnthropicEmulator, connect: Callable[..., Any]
) -> None:
    backend = connect(anthropic)
    assert not backend.supports("complete_many") and connect(anthropic, batches=True).supports("complete_many")
    found = list(backend.complete_many(HAIKU, [[{"role": "user", "content": "a"}]] * 3, max_tokens=9))
    assert texts(found) == ["A"] * 3 and anthropic.jobs_created == 0
