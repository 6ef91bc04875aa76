"""Every refusal of every route of /v1 is OpenAI's envelope. `gateways.serving` holds each answer of every other test
against the same."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.gateways import OLD_MODEL, Running, chats
from tests.support.refusals import complaints
from tuneport.errors import AuthError, ProviderError, QuotaError, StorageError, TuneportError, UnavailableError
from tuneport.lifecycle.schema.database import StoreUnavailableError
from tuneport.serve import AccessRules, create_app
from tuneport.serve.http.body_limits import BodyLimits
from tuneport.testing.emulators.faults import EmulatorExchange

ERROR = {"code": None, "message": "m", "param": None, "type": "t"}


def operations(running: Running) -> Iterator[tuple[str, str, bool]]:
    """Method and address of every route of /v1, with ids that there are not; and whether it takes a body of JSON."""
    address = running.url.removesuffix("/v1")
    for path, methods in create_app(running.gateway).openapi()["paths"].items():
        if not path.startswith("/v1/"):
            continue
        concrete = path.replace("{model}", "ft:none").replace("{", "").replace("}", "-none")
        for method, operation in methods.items():
            takes = "application/json" in operation.get("requestBody", {}).get("content", {})
            yield method.upper(), address + concrete, takes


def test_every_route_refuses_in_the_same_words(serve: Callable[..., Running], monkeypatch: pytest.MonkeyPatch) -> None:
    """Before a route is asked, by the route, and where the program itself fails."""
    monkeypatch.setenv("TUNEPORT_BACKEND", "fake")
    limits = BodyLimits(json=1000, chat=1000)
    running = serve(f"{OLD_MODEL}=stand-in", background=False, body_limits=limits)
    routes = list(operations(running))
    assert len(routes) >= 20
    client = httpx.Client(timeout=30)

    def statuses(expected: set[int], *, only: Callable[[str, bool], bool] = lambda *_: True, **asked: Any) -> None:
        found = {
            (method, url): client.request(method, url, **asked).status_code
            for method, url, takes in routes
            if only(method, takes)
        }
        assert found and set(found.values()) <= expected, found

    statuses({415}, headers={"Content-Encoding": "gzip"})
    statuses({403}, headers={"Origin": "https://evil.example"})
    statuses({401, 429}, headers={"Authorization": f"Bearer tp-{'a' * 12}-{'b' * 43}"})
    statuses({400}, params={"colour": "blue"})
    statuses({400}, only=lambda _, takes: takes, content=b"{", headers={"Content-Type": "application/json"})
    statuses({413}, only=lambda _, takes: takes, content=b" " * 1001, headers={"Content-Type": "application/json"})
    for _, url, _ in routes:
        assert client.request("PATCH", url).status_code == 405
        if "/models" not in url:  # whose names may have any shape
            assert client.get(f"{url}/no/such/thing").status_code == 404
    for raised, status in ((StoreUnavailableError("down"), 503), (RuntimeError("a bug"), 500)):
        with monkeypatch.context() as patched:

            def broken(*_: object, error: Exception = raised) -> Any:
                raise error

            patched.setattr(running.gateway.unscoped.store.database, "reading", broken)
            patched.setattr(running.gateway.unscoped.store.database, "transaction", broken)
            statuses({status, 200}, only=lambda method, _: method == "GET")  # the list of chats is empty without it
    assert {exchange.status for exchange in running.exchanges} >= {400, 401, 403, 404, 405, 413, 415, 500, 503}
    assert complaints(running.exchanges) == []


def test_scopes_rates_and_conflicts(
    serve: Callable[..., Running], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TUNEPORT_BACKEND", "fake")
    Path("tuneport.toml").write_text("[gateway]\njobs_per_minute = 1\n")
    running = serve(f"{OLD_MODEL}=stand-in", background=False, access=AccessRules(require_token=True))
    store = running.gateway.unscoped.store
    reader, writer = (store.tokens.add(scope, scope=scope)[1] for scope in ("read", "submit"))
    for method, url, _ in operations(running):
        assert httpx.request(method, url).status_code == 401
        if method != "GET":
            refused = httpx.request(method, url, headers={"Authorization": f"Bearer {reader}"})
            assert refused.status_code == 403
    asked = {"Authorization": f"Bearer {writer}", "Idempotency-Key": "k"}
    form = {"file": ("c.jsonl", chats(tmp_path / "c.jsonl").read_bytes())}
    file = httpx.post(f"{running.url}/files", files=form, data={"purpose": "fine-tune"}, headers=asked).json()["id"]
    body = {"model": OLD_MODEL, "training_file": file}
    answers = [httpx.post(f"{running.url}/fine_tuning/jobs", json=body | more, headers=asked | {"Idempotency-Key": key})
               for key, more in (("k", {}), ("k", {"seed": 1}), ("other", {}))]  # fmt: skip
    assert [answer.status_code for answer in answers] == [200, 409, 429]
    assert int(answers[-1].headers["retry-after"]) >= 1
    assert complaints(running.exchanges) == []


@pytest.mark.parametrize(
    ("error", "status", "retried"),
    [
        (AuthError("p says no", provider="p"), 502, False),
        (QuotaError("no money", provider="p"), 429, True),
        (UnavailableError("down", provider="p"), 503, True),
        (StorageError("the disk is full"), 507, False),
        (ProviderError("no", provider="p", http_status=422, code="odd"), 400, True),
        (ProviderError("no", provider="p", http_status=409), 409, True),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, TuneportError) else str(value),
)
def test_what_a_backend_says_is_told_in_the_same_words(
    running: Running, monkeypatch: pytest.MonkeyPatch, error: TuneportError, status: int, retried: bool
) -> None:
    def refusing(*_: object, **__: object) -> Any:
        raise error

    monkeypatch.setattr(type(running.gateway.unscoped.backend("fake")), "complete", refusing)
    asked = {"model": OLD_MODEL, "messages": [{"role": "user", "content": "Hi"}]}
    answer = httpx.post(f"{running.url}/chat/completions", json=asked)
    assert answer.status_code == status and str(error) in answer.json()["error"]["message"]
    assert (answer.headers.get("x-should-retry") != "false") == retried
    assert complaints(running.exchanges) == []


@pytest.mark.parametrize(
    ("status", "kind", "body"),
    [
        (418, "application/json", {"error": ERROR}),
        (400, "text/plain", {"error": ERROR}),
        (400, "application/json", {"error": {name: value for name, value in ERROR.items() if name != "param"}}),
        (400, "application/json", {"error": ERROR | {"code": 7}}),
        (400, "application/json", {"error": ERROR | {"more": "x"}}),
        (400, "application/json", {"detail": "m"}),
    ],
)
def test_what_is_no_envelope_is_noticed(status: int, kind: str, body: dict[str, Any]) -> None:
    told = EmulatorExchange(
        method="GET", path="/v1/files", query={}, request_headers={}, request_body=b"", status=status,
        response_headers={"content-type": kind}, response_body=json.dumps(body).encode(), fault=None,
    )  # fmt: skip
    assert complaints([told]) != []


def test_a_filter_that_there_is_not_is_refused_and_those_of_sdks_are_not(running: Running) -> None:
    openai = pytest.importorskip("openai", reason="the client of this test: pip install 'tuneport[openai]'")
    client = running.client()
    with pytest.raises(openai.BadRequestError, match="Unknown query parameter: 'status'") as refused:
        client.fine_tuning.jobs.list(extra_query={"status": "running"})
    assert (refused.value.param, refused.value.code) == ("status", "unknown_query_parameter")
    assert client.fine_tuning.jobs.list(metadata={"a": "b"}, limit=5, extra_query={"api-version": "preview"}).data == []
    assert client.fine_tuning.jobs.list(extra_query={"metadata": "null"}).data == []
    assert client.chat.completions.list(metadata={"a": "b"}, model="m", order="desc").data == []
    assert client.files.list(purpose="fine-tune", order="asc", limit=1).data == []
