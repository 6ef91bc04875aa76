"""Prompt caching: a long head is kept from the second time on that it is sent, and costs a tenth then."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tuneport.backends.anthropic.caching import KEPT_SECONDS, SentPromptHeads
from tuneport.testing.emulators import AnthropicEmulator

SONNET, HAIKU = "claude-sonnet-4-6", "claude-haiku-4-5"
LONG = " ".join(f"Rule {number}: be brief." for number in range(600))  # about 3,000 tokens
TOOLS = [{"type": "function", "function": {"name": "weather", "description": LONG, "parameters": {"type": "object"}}}]


@pytest.fixture(autouse=True)
def conforming(anthropic: AnthropicEmulator) -> Iterator[None]:
    from tests.support.anthropic_types import sdk_complaints  # a second to import

    yield
    assert sdk_complaints(anthropic.log) == []


def chat(system: str, word: str = "Hi") -> list[dict[str, Any]]:
    return [{"role": "system", "content": system}, {"role": "user", "content": word}]


def cached(answer: Any) -> tuple[int, int]:
    details = answer.document["usage"]["prompt_tokens_details"]
    return details["cache_write_tokens"], details["cached_tokens"]


def marks(emulator: AnthropicEmulator) -> list[Any]:
    bodies = [item.request_json() for item in emulator.requests("POST", "/messages")]
    return [[*body.get("tools", ()), *body.get("system", ())][-1].get("cache_control") for body in bodies]


def test_head_is_written_the_second_time_and_read_from_then_on(
    anthropic: AnthropicEmulator, connect: Callable[..., Any]
) -> None:
    backend = connect(anthropic)
    first, second, third = (backend.complete(SONNET, chat(LONG, word)) for word in "abc")
    (written, _), (_, read) = cached(second), cached(third)
    assert cached(first) == (0, 0) and written == read > 1024
    assert first.prompt_tokens == second.prompt_tokens == third.prompt_tokens, "all that was read counts"
    assert marks(anthropic) == [None, {"type": "ephemeral"}, {"type": "ephemeral"}]
    chunk = list(backend.complete(SONNET, chat(LONG), stream=True))[-1]
    assert chunk.usage["prompt_tokens_details"]["cached_tokens"] == read


def test_a_head_that_is_kept_no_longer_is_not_written_again(
    anthropic: AnthropicEmulator, connect: Callable[..., Any]
) -> None:
    now = 0.0
    backend = connect(anthropic)
    backend._heads = SentPromptHeads(lambda: now)
    for now in (0.0, KEPT_SECONDS + 1, 2 * KEPT_SECONDS, 3 * KEPT_SECONDS):  # noqa: B007 - the clock reads it
        backend.complete(SONNET, chat(LONG))
    assert marks(anthropic) == [None, None, {"type": "ephemeral"}, None]


def test_own_marks_of_a_request_stay_alone(anthropic: AnthropicEmulator, connect: Callable[..., Any]) -> None:
    kept = {"type": "text", "text": LONG, "cache_control": {"type": "ephemeral"}}
    backend = connect(anthropic)
    for _ in range(2):
        backend.complete(SONNET, [{"role": "system", "content": LONG}, {"role": "user", "content": [kept] * 4}])
    assert marks(anthropic) == [None, None]


def test_tools_are_a_head_too(anthropic: AnthropicEmulator, connect: Callable[..., Any]) -> None:
    backend = connect(anthropic)
    answers = [backend.complete(SONNET, chat("Hi")[1:], tools=TOOLS) for _ in range(3)]
    assert cached(answers[2])[1] > 1024


@pytest.mark.parametrize(
    ("model", "systems", "options"),
    [
        (SONNET, ["Be brief."] * 3, {}),  # too short
        (HAIKU, [LONG] * 3, {}),  # too short for this model
        ("claude-of-tomorrow", [LONG] * 3, {}),  # perhaps too short
        (SONNET, [f"{number} {LONG}" for number in range(3)], {}),  # another one each time
        (SONNET, [LONG] * 3, {"prompt_caching": False}),
    ],
)
def test_what_would_cost_more_is_not_marked(
    anthropic: AnthropicEmulator, connect: Callable[..., Any], model: str, systems: list[str], options: dict[str, Any]
) -> None:
    anthropic.models["claude-of-tomorrow"] = anthropic.models[HAIKU] | {"sampling": False}
    backend = connect(anthropic, **options)
    for system in systems:
        backend.complete(model, chat(system))
    assert marks(anthropic) == [None] * 3


def test_in_a_batch_heads_that_several_rows_have_are_kept_for_an_hour(
    anthropic: AnthropicEmulator, connect: Callable[..., Any]
) -> None:
    backend = connect(anthropic, batches=True, batch_poll_interval=0.01)
    backend._sleep = anthropic.advance
    answers = list(backend.complete_many(SONNET, [chat(LONG, "a"), chat(f"Other. {LONG}", "b"), chat(LONG, "c")]))
    rows = anthropic.requests("POST", "/messages/batches")[0].request_json()["requests"]
    hour = {"type": "ephemeral", "ttl": "1h"}
    assert [row["params"]["system"][-1].get("cache_control") for row in rows] == [hour, None, hour]
    assert cached(answers[2])[1] > 1024 and cached(answers[1]) == (0, 0)


def test_a_batch_is_known_again_though_fewer_rows_are_left_that_share_a_head(
    anthropic: AnthropicEmulator, connect: Callable[..., Any]
) -> None:
    asked = [chat(LONG, "a"), chat(LONG, "b")]
    first = connect(anthropic, batches=True, batch_poll_interval=0.01)
    first._sleep = anthropic.advance
    next(first.complete_many(SONNET, asked))  # the process ends before it takes the second
    again = connect(anthropic, batches=True, batch_poll_interval=0.01)
    (answer,) = again.complete_many(SONNET, asked[1:])
    assert answer.text == "base answer" and anthropic.jobs_created == 1
