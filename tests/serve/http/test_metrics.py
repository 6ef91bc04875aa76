"""What a gateway tells of itself: figures without unbounded labels, lines without contents, bugs with their id."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from tests.support.gateways import OLD_MODEL, Running, chats, ended
from tuneport.cli.views.serving_log import JSONLogFormatter, TextLogFormatter
from tuneport.lifecycle.store.files.uploaded import UploadedFileStore


def figures(running: Running) -> dict[str, float]:
    lines = httpx.get(running.url.removesuffix("/v1") + "/metrics").text.splitlines()
    return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines if line[0] != "#")}


def ask(running: Running, text: str = "Hi") -> httpx.Response:
    body = {"model": OLD_MODEL, "messages": [{"role": "user", "content": text}]}
    return httpx.post(f"{running.url}/chat/completions", json=body)


def test_figures_by_route_and_not_by_what_is_asked_for(running: Running, tmp_path: Path) -> None:
    client = running.client()
    file = client.files.create(file=chats(tmp_path / "c.jsonl"), purpose="fine-tune")
    client.fine_tuning.jobs.create(model=OLD_MODEL, training_file=file.id)
    before = figures(running)
    for number in range(5):
        httpx.get(f"{running.url}/files/file-{number}")
        httpx.get(f"{running.url}/nothing/{number}")
    assert ask(running).status_code == 200
    told = figures(running)
    route = 'route="/v1/files/{file_id}"'
    assert told[f'tuneport_requests_total{{method="GET",{route},status="404"}}'] == 5
    assert told[f'tuneport_request_seconds_count{{method="GET",{route}}}'] == 5
    assert told['tuneport_chats_total{backend="fake"}'] == 1
    assert told['tuneport_chat_tokens_total{backend="fake",kind="completion"}'] > 0
    assert told["tuneport_files"] == 1 and told["tuneport_files_bytes"] == file.bytes
    running.gateway.metrics.count_delivery("ours", "retried")
    assert figures(running)['tuneport_webhook_deliveries_total{outcome="retried",webhook="ours"}'] == 1
    assert told["tuneport_requests_waiting"] == 1 and told["tuneport_working"] == 0
    new = [name for name in told.keys() - before.keys() if name.startswith("tuneport_requests_total")]
    assert len(new) == 4, "one for each route and status, however many were asked for; and /metrics itself"


@contextmanager
def logged() -> Iterator[dict[str, io.StringIO]]:
    """What is written meanwhile, in both formats of `tuneport serve --log-format`."""
    written: dict[str, io.StringIO] = {}
    logger = logging.getLogger("tuneport")
    handlers = []
    for name, formatter in (("json", JSONLogFormatter()), ("text", TextLogFormatter())):
        handler = logging.StreamHandler(written.setdefault(name, io.StringIO()))
        handler.setFormatter(formatter)
        handlers.append(handler)
        logger.addHandler(handler)
    before = logger.level
    logger.setLevel(logging.INFO)
    try:
        yield written
    finally:
        logger.setLevel(before)
        for handler in handlers:
            logger.removeHandler(handler)


def test_a_job_s_life_is_a_line_for_each_change(
    serve: Callable[..., Running], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("TUNEPORT_BACKEND", "fake")
    with logged() as written:
        running = serve(f"{OLD_MODEL}=stand-in")
        client = running.client()
        file = client.files.create(file=chats(tmp_path / "c.jsonl"), purpose="fine-tune")
        job = client.fine_tuning.jobs.create(model=OLD_MODEL, training_file=file.id)
        assert ended(client, job.id).status == "succeeded"
    lines = [json.loads(line) for line in written["json"].getvalue().splitlines()]
    told = [line for line in lines if line.get("subject") == job.id]
    assert [line["event"] for line in told if line["event"] != "job.state"] == ["job.create", "job.reserve", "job.end"]
    created, end = told[0], next(line for line in told if line["event"] == "job.end")
    assert (created["project"], created["by"]) == ("default", "local") and created["request_id"].startswith("req_")
    assert (end["status"], end["backend"], end["by"]) == ("succeeded", "fake", "tuneport")
    assert end.get("usd") == running.gateway.unscoped.store.jobs.get(job.id).cost_usd
    states = [line["status"] for line in told if line["event"] == "job.state"]
    assert states[-1] == "succeeded" and len(states) == len(set(states)) > 1
    assert f"job.end {job.id}" in written["text"].getvalue()


def test_lines_of_requests_have_no_contents(running: Running) -> None:
    with logged() as written:
        answer = ask(running, "my secret is swordfish")
        httpx.get(f"{running.url}/files?after=file-of-mine", headers={"Authorization": "Bearer sk-secret"})
    line = json.loads(written["json"].getvalue().splitlines()[0])
    assert line["request_id"] == answer.headers["x-request-id"] and line["status"] == 200 and line["ms"] > 0
    assert (line["method"], line["route"], line["caller"]) == ("POST", "/v1/chat/completions", "local")
    for text in written.values():
        assert not any(word in text.getvalue() for word in ("swordfish", "sk-secret", "file-of-mine"))
    assert answer.headers["x-request-id"] in written["text"].getvalue()


def test_a_bug_has_its_id_and_the_envelope(
    running: Running, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*arguments: object) -> None:
        raise RuntimeError("the secret reason")

    monkeypatch.setattr(UploadedFileStore, "get", broken)
    answer = httpx.get(f"{running.url}/files/file-1")
    assert answer.status_code == 500 and answer.json()["error"]["type"] == "server_error"
    assert answer.headers["x-request-id"] in caplog.text and "the secret reason" in caplog.text
    assert "secret" not in answer.text
    assert figures(running)['tuneport_requests_total{method="GET",route="/v1/files/{file_id}",status="500"}'] == 1
