"""Claude's answers through the vendor's own SDK, against the emulator; each exchange is held to the SDK's types."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.emulated import KEYS, settings_for
from tuneport.backends import backend_manifest, open_backend
from tuneport.backends.routing import BackendCatalogue, BackendRoute
from tuneport.cli.main import main
from tuneport.errors import (
    AuthError,
    NotFoundError,
    QuotaError,
    RateLimitError,
    RejectedError,
    TuneportError,
    UnavailableError,
    UnsupportedError,
)
from tuneport.lifecycle.service import JobService
from tuneport.manifests import load_base_price_manifest, load_manifest
from tuneport.settings import Settings
from tuneport.testing.contract import prepared_chats
from tuneport.testing.emulators import AnthropicEmulator
from tuneport.types import TuneSpec
from tuneport.workflows.compare import compare

HAIKU, SONNET = "claude-haiku-4-5", "claude-sonnet-5-5"
USER = [{"role": "user", "content": "Where is my parcel?"}]
TOOLS = [{"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}]


@pytest.fixture(autouse=True)
def conforming(anthropic: AnthropicEmulator) -> Iterator[None]:
    from tests.support.anthropic_types import sdk_complaints  # a second to import

    yield
    assert sdk_complaints(anthropic.log) == []


def sent(emulator: AnthropicEmulator) -> dict[str, Any]:
    body: dict[str, Any] = emulator.requests("POST", "/messages")[-1].request_json()
    return body


def test_answer_with_its_tokens(anthropic: AnthropicEmulator, connect: Callable[..., Any]) -> None:
    answer = connect(anthropic).complete(HAIKU, USER, max_tokens=1, temperature=0.0)
    assert (answer.text, answer.finish_reason, answer.model) == ("base", "length", HAIKU)
    assert sent(anthropic)["temperature"] == 0.0 and sent(anthropic)["max_tokens"] == 1
    used = anthropic.log[-1].json()["usage"]
    assert (answer.prompt_tokens, answer.completion_tokens) == (used["input_tokens"], used["output_tokens"])
    assert answer.document["object"] == "chat.completion" and answer.document["choices"][0]["message"]["content"]


def test_newer_model_is_asked_without_a_temperature(anthropic: AnthropicEmulator, connect: Callable[..., Any]) -> None:
    assert connect(anthropic).complete(SONNET, USER, temperature=0.0).text == "base answer"
    assert "temperature" not in sent(anthropic)


@pytest.mark.parametrize("stream", [False, True])
def test_calls(anthropic: AnthropicEmulator, connect: Callable[..., Any], stream: bool) -> None:
    answer = connect(anthropic).complete(HAIKU, USER, tools=TOOLS, tool_choice="required", stream=stream)
    if not stream:
        (call,), reason = answer.tool_calls, answer.finish_reason
        name, arguments = call["function"]["name"], call["function"]["arguments"]
    else:
        choices = [chunk.choices[0] for chunk in answer]
        parts = [part for each in choices for part in each["delta"].get("tool_calls", ())]
        name, reason = parts[0]["function"]["name"], choices[-1]["finish_reason"]
        arguments = "".join(part["function"]["arguments"] for part in parts)
        assert parts[0]["id"] and {part["index"] for part in parts} == {0}
    assert (name, json.loads(arguments), reason) == ("weather", {"place": "Ulm"}, "tool_calls")


def test_stream_is_the_answer_and_ends_with_its_tokens(
    anthropic: AnthropicEmulator, connect: Callable[..., Any]
) -> None:
    anthropic.answer = lambda asked: "It is on  its way.\n"
    backend = connect(anthropic)
    chunks = list(backend.complete(HAIKU, USER, stream=True))
    whole = backend.complete(HAIKU, USER)
    assert "".join(chunks) == whole.text == "It is on  its way.\n" and len(chunks) > 4
    assert chunks[-1].choices[0]["finish_reason"] == "stop"
    assert chunks[-1].usage["completion_tokens"] == whole.completion_tokens
    assert chunks[-1].usage["prompt_tokens"] == whole.prompt_tokens


def test_refusal_is_told_as_filtered(anthropic: AnthropicEmulator, connect: Callable[..., Any]) -> None:
    message = anthropic.message({"model": HAIKU, "max_tokens": 8, "messages": USER})
    anthropic.fail("shape", path="/messages", body=message | {"content": [], "stop_reason": "refusal"})
    anthropic.fail("shape", path="/messages", body=message | {"stop_reason": "of tomorrow"}, times=None)
    backend = connect(anthropic)
    assert backend.complete(HAIKU, USER).finish_reason == "content_filter"
    with pytest.raises(UnavailableError, match="of tomorrow"):
        backend.complete(HAIKU, USER)


@pytest.mark.parametrize(
    ("status", "type", "kind", "retried"),
    [
        (400, "invalid_request_error", RejectedError, False),
        (401, "authentication_error", AuthError, False),
        (402, "billing_error", QuotaError, False),
        (403, "permission_error", AuthError, False),
        (404, "not_found_error", NotFoundError, False),
        (413, "invalid_request_error", RejectedError, False),
        (429, "rate_limit_error", RateLimitError, True),
        (500, "api_error", UnavailableError, True),
        (529, "overloaded_error", UnavailableError, True),
    ],
)
def test_errors(
    anthropic: AnthropicEmulator, connect: Callable[..., Any], status: int, type: str, kind: Any, retried: bool
) -> None:
    anthropic.fail(status=status, headers={"request-id": "req_1"}, times=None)
    with pytest.raises(kind) as caught:
        connect(anthropic).complete(HAIKU, USER)
    assert (caught.value.http_status, caught.value.code, caught.value.request_id) == (status, type, "req_1")
    assert (len(anthropic.log) > 1) is retried


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (400, {"type": "invalid_request_error", "message": "Your credit balance is too low to access the API."}),
        (400, {"type": "invalid_request_error", "message": "You have reached your specified API usage limits."}),
        (429, {"type": "rate_limit_error", "message": "Monthly limit reached.",
               "details": {"error_code": "enforced_spend_limit_reached"}}),
    ],
)  # fmt: skip
def test_account_without_credit_is_told_and_not_asked_again(
    anthropic: AnthropicEmulator, connect: Callable[..., Any], status: int, error: dict[str, Any]
) -> None:
    anthropic.fail(status=status, body={"type": "error", "error": error}, times=None)
    with pytest.raises(QuotaError, match="no quota or credit left .* add credit there"):
        connect(anthropic).complete(HAIKU, USER)
    assert len(anthropic.log) == 1


def test_a_model_that_cannot_be_made_to_call_says_so(anthropic: AnthropicEmulator, connect: Callable[..., Any]) -> None:
    with pytest.raises(RejectedError, match="tool_choice"):
        connect(anthropic).complete(SONNET, USER, tools=TOOLS, tool_choice="required")


def test_a_server_that_asks_for_time_gets_it(anthropic: AnthropicEmulator, connect: Callable[..., Any]) -> None:
    anthropic.fail(status=529, headers={"retry-after": "7"})
    backend = connect(anthropic)
    assert backend.complete(HAIKU, USER).text == "base answer"
    assert sum(backend.waits) >= 7 and len(anthropic.log) == 2


@pytest.mark.parametrize(
    ("fault", "told"),
    [
        ({"kind": "error_in_stream", "body": {"type": "error", "error": {"type": "overloaded_error",
          "message": "Overloaded"}}}, "ended its answer early: Overloaded"),
        ({"kind": "cut"}, "broken|closed|ended|reset|incomplete"),
    ],
)  # fmt: skip
def test_stream_that_breaks_off_is_no_answer(
    anthropic: AnthropicEmulator, connect: Callable[..., Any], fault: dict[str, Any], told: str
) -> None:
    anthropic.fail(path="/messages", **fault)
    with pytest.raises(UnavailableError, match=told):
        list(connect(anthropic).complete(HAIKU, USER, stream=True))


def test_models_of_the_account(anthropic: AnthropicEmulator, connect: Callable[..., Any]) -> None:
    found = {model.id: model for model in connect(anthropic).list_models()}
    assert set(found) == set(anthropic.models)
    assert str(found["claude-sonnet-4-5"].shutdown_date) == "2026-11-30" and found[HAIKU].shutdown_date is None


def test_nothing_of_the_environment_but_the_settings_is_used(
    anthropic: AnthropicEmulator, connect: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ANTHROPIC_AUTH_TOKEN", "another's")
    monkeypatch.setenv("ANTHROPIC_CUSTOM_HEADERS", "Authorization: Bearer another's")
    monkeypatch.setenv("ANTHROPIC_BASE_URL", "http://127.0.0.1:9")
    connect(anthropic).complete(HAIKU, USER)
    assert anthropic.log[-1].request_headers["authorization"] == f"Bearer {KEYS['anthropic']}"


def test_address_of_the_vendors_own_variable_counts_where_ours_is_not_set(isolated: Path) -> None:
    own = {"ANTHROPIC_BASE_URL": "http://127.0.0.1:9/proxy"}
    assert backend_manifest("anthropic", Settings.load(isolated, own)).base_url == "http://127.0.0.1:9/proxy"
    ours = Settings.load(isolated, own | {"TUNEPORT_ANTHROPIC_BASE_URL": "http://127.0.0.1:8"})
    assert "127.0.0.1:8" in repr(open_backend("anthropic", ours))


# --- training, which there is none of --------------------------------------------------------------------------------


def test_no_job_is_offered_or_taken(isolated: Path, tmp_path: Path) -> None:
    settings = settings_for("anthropic", "http://127.0.0.1:9", key="sk-ant-0123456789")
    data = prepared_chats(tmp_path).training.path
    with JobService(settings) as workspace:
        for model in (HAIKU, f"anthropic/{HAIKU}", "anthropic/claude-of-tomorrow"):
            with pytest.raises(TuneportError, match="Claude 3 Haiku at Amazon Bedrock, ended there on 2026-09-10"):
                workspace.plan(TuneSpec(model=model, dataset=data))
        choices = workspace.plan(TuneSpec(model="smollm2-135m-instruct", dataset=data)).choices
    assert "anthropic" not in [choice.backend for choice in choices]
    assert "anthropic" not in [row.backend for row in compare(data, settings=settings).choices]
    shown = compare(data, model=HAIKU, backend="anthropic", settings=settings).choices
    assert [(row.backend, row.allowed) for row in shown] == [("anthropic", False)]
    with pytest.raises(UnsupportedError, match="Bedrock"):
        open_backend("anthropic", settings).check(TuneSpec(model=HAIKU, dataset=data))


def test_list_of_backends_says_that_it_takes_no_jobs(
    isolated: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ANTHROPIC_API_KEY", "k")
    assert main(["backends"]) == 0
    assert re.search(r"^anthropic +yes +none *$", capsys.readouterr().out, re.MULTILINE)
    assert main(["backends", "--json"]) == 0
    rows = {row["name"]: row for row in json.loads(capsys.readouterr().out)["data"]}
    assert rows["anthropic"]["configured"] and not rows["anthropic"]["accepts_new_jobs"]


def test_names_lead_to_it_where_it_is_named_or_set_up(isolated: Path) -> None:
    catalogue = BackendCatalogue(Settings.load(isolated, {"ANTHROPIC_API_KEY": "k"}))
    assert catalogue.route_model(HAIKU) == BackendRoute("anthropic", HAIKU)
    assert catalogue.route_model("anthropic/claude-of-tomorrow") == BackendRoute("anthropic", "claude-of-tomorrow")


def test_quote_counts_what_will_be_billed(anthropic: AnthropicEmulator, connect: Callable[..., Any]) -> None:
    chats = [[{"role": "system", "content": "Be brief."}, {"role": "user", "content": word * 9}] for word in "ab"]
    backend = connect(anthropic)
    quote = backend.quote_answers(HAIKU, chats, max_tokens=100, temperature=0.0, tools=TOOLS)
    assert anthropic.answered == 0 and quote.authority == "manifest" and quote.as_of is not None
    billed = sum(backend.complete(HAIKU, each, max_tokens=100, tools=TOOLS).prompt_tokens for each in chats)
    assert f"{billed:,} tokens in, by Anthropic's own count, and 200 out at most" in quote.explanation
    assert quote.low == pytest.approx(billed * 1.00 / 1e6)
    assert quote.expected == quote.high == pytest.approx(quote.low + 200 * 5.00 / 1e6)
    half = connect(anthropic, batches=True).quote_answers(HAIKU, chats, max_tokens=100, tools=TOOLS)
    assert half.expected == pytest.approx(quote.expected / 2)
    anthropic.models["claude-of-tomorrow"] = anthropic.models[HAIKU]
    assert "lists no price" in (backend.quote_answers("claude-of-tomorrow", chats).unavailable or "")


# --- facts -----------------------------------------------------------------------------------------------------------


def test_prices_are_those_of_the_tables_that_are_installed() -> None:
    prices = load_base_price_manifest()
    if prices.package != "litellm":
        pytest.skip("litellm is not installed, whose table has the prices of batches")
    for model in load_manifest("anthropic").models:
        theirs = prices.find(model.id)
        assert theirs is not None and model.inference is not None, model.id
        ours = model.inference
        assert ours.model_dump(exclude={"source", "as_of", "usd_per_mtok_cache_write"}) == theirs.price.model_dump(
            exclude={"source", "as_of", "usd_per_mtok_cache_write"}
        )
        assert ours.usd_per_mtok_cache_write == pytest.approx(1.25 * ours.usd_per_mtok_input)
        assert ours.usd_per_mtok_batch_input == pytest.approx(ours.usd_per_mtok_input / 2)
        assert ours.usd_per_mtok_batch_output == pytest.approx(ours.usd_per_mtok_output / 2)
