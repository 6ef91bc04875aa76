"""The page of `tuneport review`: for one person on this machine, who has its address; also in headless Chromium."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("fastapi", reason="an extra: pip install 'tuneport[serve]'")

import uvicorn
from starlette.testclient import TestClient

from tests.support.browser import Browser
from tests.support.rows import chat, write
from tuneport.data.review import read_review_verdicts
from tuneport.data.review.session import ReviewSession
from tuneport.data.review.verdicts import editable_answer, review_verdicts_path
from tuneport.serve.local_pages.review import MAX_BODY_BYTES, create_app

TOKEN = "secret-part-of-the-address"


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return write(tmp_path / "train.jsonl", [chat(f"question {number}", f"answer {number}") for number in range(20)])


@contextmanager
def serving(review: ReviewSession) -> Iterator[str]:
    """Give the address of the page, until it is finished or the block ends."""
    ended = threading.Event()
    server = uvicorn.Server(
        uvicorn.Config(create_app(review, TOKEN, finish=ended.set), log_level="error", lifespan="off")
    )
    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        try:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}/{TOKEN}/"
        finally:
            server.should_exit = True
            thread.join()


def client(review: ReviewSession) -> TestClient:
    return TestClient(create_app(review, TOKEN, finish=lambda: None), base_url=f"http://127.0.0.1/{TOKEN}/")


def judge(browser: TestClient, index: int, verdict: str, **more: str) -> dict[str, Any]:
    answer = browser.post("judge", json={"index": index, "verdict": verdict, **more})
    assert answer.status_code == 200, answer.text
    document: dict[str, Any] = answer.json()
    return document


def test_accept_reject_edit_undo_and_go_on_later(data: Path) -> None:
    browser = client(ReviewSession(data, sample=5, seed=3))
    start = browser.get("review").json()
    assert start["rows"] == 20 and len(start["records"]) == 5
    assert judge(browser, 0, "accept")["verdict"] == "accept"
    judge(browser, 1, "reject")
    edited = judge(browser, 2, "edit", text="better „answer“ 🙂")
    assert edited["verdict"] == "edit" and edited["text"] == "better „answer“ 🙂"
    judge(browser, 3, "reject")
    undone = browser.post("undo", json={}).json()
    assert undone["index"] == 3 and undone["record"]["verdict"] is None
    judge(browser, 0, "reject")  # a second thought, taken back: the first verdict stands again
    assert browser.post("undo", json={}).json()["record"]["verdict"] == "accept"

    again = ReviewSession(data, sample=5, seed=3)
    records = client(again).get("review").json()["records"]
    assert [row["line"] for row in records] == [row["line"] for row in start["records"]]
    assert [row["verdict"] for row in records] == ["accept", "reject", "edit", None, None]
    summary = again.summary()
    assert (summary.accepted, summary.rejected, summary.edited, summary.left_open, summary.judged) == (1, 1, 1, 2, 3)

    lines = [json.loads(line) for line in review_verdicts_path(data).read_text(encoding="utf-8").splitlines()]
    assert [line["verdict"] for line in lines] == ["accept", "reject", "edit", "reject", "undo", "reject", "undo"]
    assert {"line", "record", "verdict", "at"} <= set(lines[0]) and lines[2]["text"] == "better „answer“ 🙂"


def test_only_the_one_who_has_the_address_gets_in(data: Path) -> None:
    anybody = TestClient(create_app(ReviewSession(data), TOKEN, finish=lambda: None), base_url="http://127.0.0.1:8")
    good, body = f"/{TOKEN}/", {"index": 0, "verdict": "reject"}
    assert anybody.get(good).status_code == 200
    for path in ("/", "/wrong/", f"/{TOKEN}x/review", "/review", f"/wrong/{TOKEN}/review", "/é/", "/healthz"):
        refused = anybody.get(path)
        assert refused.status_code == 403, path
        assert refused.json()["error"]["message"] == "Open the address that tuneport review printed."
        assert anybody.post(f"{path}judge", json=body).status_code == 403, path
    foreign: list[dict[str, str]] = [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Host": "evil.example"},
        {"Host": "evil.example:8"},
        {"Sec-Fetch-Site": "cross-site"},
    ]
    for headers in foreign:
        assert anybody.get(f"{good}review", headers=headers).status_code == 403, headers
        assert anybody.post(f"{good}judge", json=body, headers=headers).status_code == 403, headers
    assert not review_verdicts_path(data).exists()
    assert anybody.post(f"{good}judge", json=body, headers={"Origin": "http://127.0.0.1:8"}).status_code == 200


def test_requests_that_are_none(data: Path) -> None:
    browser = client(ReviewSession(data, sample=2))
    for body in (
        {"index": 2, "verdict": "accept"},
        {"index": -1, "verdict": "accept"},
        {"index": 0},
        [],
        {"index": 0, "verdict": "undo"},
        {"index": 0, "verdict": "edit"},
        {"index": 0, "verdict": "accept", "text": "x"},
        {"index": 0, "verdict": "edit", "text": 3},
        {"index": 0, "verdict": "edit", "text": "half of a character: \ud83d"},
    ):
        refused = browser.post("judge", content=json.dumps(body), headers={"Content-Type": "application/json"})
        assert refused.status_code == 400 and refused.json()["error"]["message"], body
    assert browser.post("judge", content="index=0", headers={"Content-Type": "text/plain"}).status_code == 400
    large = json.dumps({"index": 0, "verdict": "edit", "text": "x" * MAX_BODY_BYTES})
    assert browser.post("judge", content=large).status_code == 413
    assert browser.post("judge", content=iter([large.encode()])).status_code == 413
    assert browser.get("elsewhere").status_code == 404
    assert browser.post("undo", json={}).json() == {"index": None, "record": None}
    assert not review_verdicts_path(data).exists()


def test_what_the_disk_refuses_is_said(data: Path) -> None:
    browser = client(ReviewSession(data, sample=2))
    review_verdicts_path(data).mkdir()
    refused = browser.post("judge", json={"index": 0, "verdict": "accept"})
    assert refused.status_code == 507 and "cannot be written" in refused.json()["error"]["message"]


def test_the_page_loads_nothing_from_elsewhere(data: Path) -> None:
    page = client(ReviewSession(data)).get("")
    policy = page.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy and "unsafe" not in policy and "connect-src 'self'" in policy
    assert "img-src 'self' data:;" in policy, "a record names an address of its own, and would learn who reviews it"
    assert page.headers["Referrer-Policy"] == "no-referrer" and page.headers["Cache-Control"] == "no-store"
    assert page.headers["X-Frame-Options"] == "DENY" and page.headers["X-Content-Type-Options"] == "nosniff"
    assert not any(word in page.text for word in ("http://", "https://", "innerHTML", "{{"))


@pytest.mark.full
def test_a_browser_shows_every_kind_of_record(tmp_path: Path) -> None:
    hostile = "<img src=x onerror=\"document.title='owned'\"><script>document.title='owned'</script>"
    calls = [{"id": "c1", "type": "function", "function": {"name": "weather", "arguments": '{"city": "\\u00c5s"}'}}]
    calls += [
        {"id": "c2", "type": "function", "function": {"name": "user", "arguments": '{"id": 12345678901234567890}'}}
    ]
    picture = [
        {"type": "text", "text": "What is it?"},
        {"type": "image_url", "image_url": {"url": "http://127.0.0.1:9/x.png"}},
    ]
    rows = [
        {
            "messages": [
                {"role": "user", "content": picture},
                {"role": "assistant", "tool_calls": calls},
                {"role": "tool", "tool_call_id": "c1", "content": "sun"},
                {"role": "tool", "tool_call_id": "c2", "content": "Ada"},
                {"role": "assistant", "content": hostile},
            ]
        }
    ]
    with serving(ReviewSession(write(tmp_path / "train.jsonl", rows))) as address:
        shown = Browser().dump(address)
    assert "<title>train.jsonl: review</title>" in shown and "owned'&lt;/script&gt;" in shown
    assert "image at http://127.0.0.1:9/x.png (tuneport review --remote-pictures can load it)" in shown
    assert "<img" not in shown
    assert 'weather({\n  "city": "Ås"\n})  # c1' in shown and 'user({"id": 12345678901234567890})' in shown
    assert "record 1 of 1, line 1" in shown


@pytest.mark.full
def test_a_person_reviews_with_the_keyboard_alone(data: Path, tmp_path: Path) -> None:
    review = ReviewSession(data, sample=4)
    place, standing = "document.getElementById('place').textContent", "document.getElementById('standing').textContent"

    def at(number: int) -> str:
        return f"record {number} of 4, line {review.shown[number - 1].line}"

    with serving(review) as address, Browser().open(address) as tab:
        tab.wait_for(place, at(1))
        tab.type("a")
        tab.wait_for(place, at(2))
        tab.type("r")
        tab.wait_for(place, at(3))
        tab.type("u")
        tab.wait_for(place, at(2))
        assert tab.value(standing) == "not judged yet"
        tab.type("ArrowLeft")
        tab.wait_for(standing, "accepted")
        tab.type("ArrowRight", "ArrowRight", "e")
        tab.wait_for("document.activeElement.tagName", "TEXTAREA")
        tab.type("a", "r", "u", "!")  # text now, not commands
        tab.type("Enter", control=True)
        tab.wait_for(place, at(4))
        tab.type("e", "x", "Escape")
        tab.wait_for("document.querySelectorAll('textarea').length", 0)
        tab.type("q")
        tab.wait_for(
            "document.getElementById('record').textContent.slice(0, 41)", "Done: 1 accepted, 0 rejected, 1 edited, 2"
        )
    found = read_review_verdicts(review_verdicts_path(data))
    third = review.shown[2]
    assert found[third.hash].text == f"{editable_answer(third.record)}aru!" and len(found) == 2
