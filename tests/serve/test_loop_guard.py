"""Gateways that are each other's upstream: found out by the way that a request says it has come."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydantic import SecretStr

from tests.support.gateways import OLD_MODEL, Running, chats, ended
from tuneport.backends.hosted.http.loop_guard import HOP_HEADER, MOST_HOPS
from tuneport.testing.emulators import OpenAIEmulator

openai = pytest.importorskip("openai", reason="the client of these tests: pip install 'tuneport[openai]'")

Start = Callable[..., Running]


@pytest.fixture
def circle(serve: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Running]:
    """Three gateways, each with a store of its own; the first asks the second, that one the third, the third the
    first."""
    monkeypatch.setenv("TUNEPORT_BACKEND", "openai")
    monkeypatch.setenv("OPENAI_API_KEY", "sk-none")
    gateways = []
    for number in range(3):
        monkeypatch.setenv("TUNEPORT_HOME", str(tmp_path / f"home{number}"))
        gateways.append(serve())
    for number, running in enumerate(gateways):
        upstream = gateways[(number + 1) % 3].url
        running.gateway.settings.environment["TUNEPORT_OPENAI_BASE_URL"] = SecretStr(upstream)
    return gateways


def test_a_chat_that_comes_round_again_is_refused(circle: list[Running]) -> None:
    for stream in (False, True):
        before = [len(running.exchanges) for running in circle]
        with pytest.raises(openai.BadRequestError, match="its own backend, by way of 2 others: .*BASE_URL") as refused:
            circle[0].client().chat.completions.create(
                model="gpt-4.1-mini", messages=[{"role": "user", "content": "Hi"}], stream=stream
            )
        assert refused.value.code == "gateway_loop"
        asked = [len(running.exchanges) - count for running, count in zip(circle, before, strict=True)]
        assert asked == [2, 1, 1], "it went round once"


def test_a_job_that_comes_round_again_fails_and_says_why(circle: list[Running], tmp_path: Path) -> None:
    client = circle[0].client()
    file = client.files.create(file=chats(tmp_path / "c.jsonl"), purpose="fine-tune")
    job = ended(client, client.fine_tuning.jobs.create(model=OLD_MODEL, training_file=file.id).id)
    assert job.status == "failed" and "its own backend, by way of 2 others" in job.error.message
    created = [
        sum(exchange.method == "POST" and exchange.path == "/v1/fine_tuning/jobs" for exchange in running.exchanges)
        for running in circle
    ]
    assert created == [1, 1, 1], "each asked the next one once"


def test_a_job_goes_through_two_gateways(serve: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with OpenAIEmulator(key="sk-upstream", pace=0.05) as upstream:
        monkeypatch.setenv("TUNEPORT_BACKEND", "openai")
        monkeypatch.setenv("OPENAI_API_KEY", "sk-upstream")
        address, ids = upstream.base_url, []
        for place in ("near the provider", "near the client"):
            monkeypatch.setenv("TUNEPORT_HOME", str(tmp_path / place))
            monkeypatch.setenv("TUNEPORT_OPENAI_BASE_URL", address)
            running = serve()
            address = running.url
            ids.insert(0, running.gateway.settings.gateway_id)
        client = running.client()
        file = client.files.create(file=chats(tmp_path / "c.jsonl"), purpose="fine-tune")
        job = client.fine_tuning.jobs.create(model=OLD_MODEL, training_file=file.id, metadata={"team": "blue"})
        assert ended(client, job.id).status == "succeeded" and upstream.jobs_created == 1
        sent = upstream.requests("POST", "/fine_tuning/jobs")[-1]
        assert sent.request_headers[HOP_HEADER.lower()] == ",".join(ids), "also what a worker sends later"
        assert sent.request_json()["metadata"]["team"] == "blue"


def test_the_way_is_told_on_and_may_not_be_long(serve: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    with OpenAIEmulator(key="sk-upstream") as upstream:
        monkeypatch.setenv("TUNEPORT_OPENAI_BASE_URL", upstream.base_url)
        monkeypatch.setenv("OPENAI_API_KEY", "sk-upstream")
        running = serve(background=False)

        def ask(way: str) -> Any:
            body = {"model": "openai/gpt-4.1-mini-2025-04-14", "messages": [{"role": "user", "content": "Hi"}]}
            return httpx.post(f"{running.url}/chat/completions", json=body, headers={HOP_HEADER: way})

        way = ",".join(f"gateway{number}" for number in range(MOST_HOPS - 1))
        assert ask(f"1, {way}, no id!").status_code == 200
        told = upstream.requests("POST", "/chat/completions")[-1].request_headers[HOP_HEADER.lower()]
        assert told == f"{way},{running.gateway.settings.gateway_id}"
        refused = ask(f"{way},one-more")
        assert (refused.status_code, refused.json()["error"]["code"]) == (400, "gateway_loop")
        assert f"at most {MOST_HOPS}" in refused.json()["error"]["message"]
