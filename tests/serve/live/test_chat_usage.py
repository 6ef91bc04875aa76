"""Chats in the audit log: who, which model, how many tokens and what money; not what was said, and nobody waits."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from pytest import approx

from tests.support.gateways import Running
from tests.support.waiting import until
from tuneport.errors import TuneportError
from tuneport.estimate.cost.chat import chat_cost
from tuneport.lifecycle.schema.database import StoreUnavailableError
from tuneport.lifecycle.schema.request_context import RequestContext
from tuneport.manifests import load_manifest
from tuneport.manifests.base_prices import load_base_price_manifest
from tuneport.settings import Settings
from tuneport.testing.emulators import OpenAIEmulator

openai = pytest.importorskip("openai", reason="the client of these tests: pip install 'tuneport[openai]'")

MODEL = "gpt-4.1-mini-2025-04-14"


def chats_of(running: Running) -> list[Any]:
    rows, _ = running.gateway.unscoped.store.audit.page(limit=100)
    return [row for row in rows if row.action == "chat.answer"]


def test_who_asked_what_for_how_much(serve: Callable[..., Running], monkeypatch: pytest.MonkeyPatch) -> None:
    with OpenAIEmulator(key="sk-upstream") as upstream:
        monkeypatch.setenv("TUNEPORT_OPENAI_BASE_URL", upstream.base_url)
        monkeypatch.setenv("OPENAI_API_KEY", "sk-upstream")
        monkeypatch.setenv("TUNEPORT_BACKEND", "openai")
        running = serve()
        token, secret = running.gateway.unscoped.store.tokens.add("support-team", scope="admin", project=None)
        client = openai.OpenAI(base_url=running.url, api_key=secret, max_retries=0)
        ask = {"model": MODEL, "messages": [{"role": "user", "content": "my secret is swordfish"}]}
        whole = client.chat.completions.create(**ask)
        list(client.chat.completions.create(**ask, stream=True))
        with pytest.raises(openai.BadRequestError):
            client.chat.completions.create(**ask | {"model": "openai/nobody"})  # costs nothing, and is no entry
        streamed, asked = until(lambda: len(chats_of(running)) == 2 and chats_of(running))
        usage = whole.usage.to_dict()
        for row in (asked, streamed):
            assert (row.name, row.token_id, row.subject) == ("support-team", token.id, f"{MODEL} at openai")
            assert (row.prompt_tokens, row.completion_tokens) == (usage["prompt_tokens"], usage["completion_tokens"])
            assert row.usd == chat_cost(load_manifest("openai"), MODEL, usage, load_base_price_manifest())
            assert row.request_id.startswith("req_") and row.address == "127.0.0.1"
        told = httpx.get(
            running.url.replace("/v1", "/tuneport/v1/audit"), headers={"Authorization": f"Bearer {secret}"}
        )
        assert told.json()["data"][0]["completion_tokens"] == usage["completion_tokens"]
    for path in Path(Settings.load().home).glob("tuneport.db*"):
        assert b"swordfish" not in path.read_bytes()


def test_what_waits_is_written_at_the_end_and_after_trouble(
    serve: Callable[..., Running], monkeypatch: pytest.MonkeyPatch
) -> None:
    running = serve(background=False)
    usage, store = running.gateway.chat_usage, running.gateway.unscoped.store
    taken: Callable[..., None] = store.audit.add
    tries: list[int] = []

    def troubled(rows: list[Any]) -> None:
        tries.append(len(rows))
        if len(tries) == 2:
            raise StoreUnavailableError("the disk is full")
        taken(rows)

    monkeypatch.setattr(store.audit, "add", troubled)
    for number in range(1200):
        usage.add(RequestContext(), "fake", f"m{number}", "m", {"prompt_tokens": 1, "completion_tokens": "many"})
    assert tries == [], "a chat waits for no store"
    with pytest.raises(TuneportError):
        usage.write()
    running.gateway.close(patience=1)
    assert tries == [500, 500, 500, 200]
    from tuneport.lifecycle.store.store import Store

    rows, _ = Store(Settings.load().database_url).unscoped().audit.page(limit=2000)
    assert [row.subject for row in rows] == [f"m{number} at fake" for number in reversed(range(1200))]
    assert {(row.prompt_tokens, row.completion_tokens, row.usd) for row in rows} == {(1, None, None)}


def test_what_a_provider_or_a_client_makes_up_keeps_no_other_chat_out(serve: Callable[..., Running]) -> None:
    """One entry that cannot be written would hold up all those behind it."""
    running = serve(background=False)
    odd: list[tuple[str, dict[str, Any]]] = [
        (f"{MODEL}\0", {"prompt_tokens": 1, "completion_tokens": 1}),
        (MODEL, {"prompt_tokens": 1, "completion_tokens": 1, "prompt_tokens_details": ["none"]}),
        (MODEL, {"prompt_tokens": 10**400, "completion_tokens": 1}),
        ("last", {}),
    ]
    for model, usage in odd:
        running.gateway.chat_usage.add(RequestContext(), "openai", model, MODEL, usage)
    running.gateway.chat_usage.write()
    rows = chats_of(running)
    assert [row.subject for row in rows] == [
        "last at openai", f"{MODEL} at openai", f"{MODEL} at openai", f"{MODEL}\N{REPLACEMENT CHARACTER} at openai"
    ]  # fmt: skip
    assert [row.usd is None for row in rows] == [True, True, False, False]


def test_a_tuned_models_price_is_the_manifests_and_cached_tokens_are_cheaper() -> None:
    manifest = load_manifest("openai")
    price = next(model.inference for model in manifest.models if model.id == MODEL)
    assert price is not None and price.usd_per_mtok_cached_input is not None
    out = price.usd_per_mtok_output
    usage = {"prompt_tokens": 1_000_000, "completion_tokens": 1_000_000}
    tuned = f"ft:{MODEL}:org::1234"
    assert chat_cost(manifest, tuned, usage, None) == approx(price.usd_per_mtok_input + out)
    cached = usage | {"prompt_tokens_details": {"cached_tokens": 1_000_000}}
    assert chat_cost(manifest, tuned, cached, None) == approx(price.usd_per_mtok_cached_input + out)
    assert chat_cost(manifest, tuned, {}, None) is None
    assert chat_cost(load_manifest("local"), "smollm2-135m-instruct", usage, load_base_price_manifest()) is None
