"""Review over real HTTP: verdicts that last, a page for one person on this machine, a sample that comes back."""

from __future__ import annotations

import json
import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.browser import Browser
from tests.support.rows import chat, write
from tuneport.data.checks import check_dataset
from tuneport.data.reading import read_records
from tuneport.data.review import read_review_verdicts, record_hash, review_verdicts_path, with_answer
from tuneport.data.review.session import ReviewSession, read_check_flags
from tuneport.data.review.verdicts import editable_answer
from tuneport.errors import ConfigError, DatasetError
from tuneport.workflows.checking.review_server import MAX_BODY_BYTES, ReviewServer


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return write(tmp_path / "train.jsonl", [chat(f"question {number}", f"answer {number}") for number in range(20)])


@contextmanager
def serving(review: ReviewSession) -> Iterator[ReviewServer]:
    with ReviewServer(review) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


@contextmanager
def client(review: ReviewSession) -> Iterator[httpx.Client]:
    with serving(review) as server, httpx.Client(base_url=server.review_url, trust_env=False) as made:
        yield made


def judge(browser: httpx.Client, index: int, verdict: str, **more: str) -> dict[str, Any]:
    answer = browser.post("judge", json={"index": index, "verdict": verdict, **more})
    assert answer.status_code == 200, answer.text
    document: dict[str, Any] = answer.json()
    return document


def test_accept_reject_edit_undo_and_go_on_later(data: Path) -> None:
    with client(ReviewSession(data, sample=5, seed=3)) as browser:
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
    with client(again) as browser:
        records = browser.get("review").json()["records"]
    assert [row["line"] for row in records] == [row["line"] for row in start["records"]]
    assert [row["verdict"] for row in records] == ["accept", "reject", "edit", None, None]
    summary = again.summary()
    assert (summary.accepted, summary.rejected, summary.edited, summary.left_open, summary.judged) == (1, 1, 1, 2, 3)

    lines = [json.loads(line) for line in review_verdicts_path(data).read_text(encoding="utf-8").splitlines()]
    assert [line["verdict"] for line in lines] == ["accept", "reject", "edit", "reject", "undo", "reject", "undo"]
    assert {"line", "record", "verdict", "at"} <= set(lines[0]) and lines[2]["text"] == "better „answer“ 🙂"


def test_verdicts_are_found_by_what_the_records_hold(data: Path) -> None:
    with client(ReviewSession(data, sample=20)) as browser:
        judge(browser, 4, "reject")
        judge(browser, 7, "edit", text="new")
    moved = write(data, reversed([chat(f"question {number}", f"answer {number}") for number in range(20)]))
    found = read_review_verdicts(review_verdicts_path(moved))
    rejected = [line for line, record in read_records(moved) if record_hash(record) in found]
    assert rejected == [13, 16] and len(found) == 2
    record = next(record for _, record in read_records(moved) if editable_answer(record) == "answer 7")
    changed = with_answer(record, found[record_hash(record)].text or "")
    assert editable_answer(changed) == "new" and editable_answer(record) == "answer 7"


def test_only_the_one_who_has_the_address_gets_in(data: Path) -> None:
    with serving(ReviewSession(data)) as server, httpx.Client(trust_env=False) as anybody:
        good = server.review_url
        origin = good.split("/" + server.token)[0]
        body = {"index": 0, "verdict": "reject"}
        assert anybody.get(good).status_code == 200
        for address in (f"{origin}/", f"{origin}/wrong/", f"{origin}/{server.token}x/review", f"{origin}/review"):
            assert anybody.get(address).status_code == 403, address
        assert anybody.post(f"{origin}/wrong/judge", json=body).status_code == 403
        foreign: list[dict[str, str]] = [
            {"Origin": "https://evil.example"},
            {"Origin": "null"},
            {"Host": "evil.example"},
            {"Host": f"evil.example:{server.review_port}"},
            {"Sec-Fetch-Site": "cross-site"},
        ]
        for headers in foreign:
            assert anybody.get(f"{good}review", headers=headers).status_code == 403, headers
            assert anybody.post(f"{good}judge", json=body, headers=headers).status_code == 403, headers
        assert not review_verdicts_path(data).exists()
        assert anybody.post(f"{good}judge", json=body, headers={"Origin": origin}).status_code == 200
        assert server.server_address[0] == "127.0.0.1"


def test_requests_that_are_none(data: Path) -> None:
    with client(ReviewSession(data, sample=2)) as browser:
        for body in (
            {"index": 2, "verdict": "accept"},
            {"index": -1, "verdict": "accept"},
            {"index": 0},
            [],
            {"index": 0, "verdict": "undo"},
            {"index": 0, "verdict": "edit"},
            {"index": 0, "verdict": "accept", "text": "x"},
            {"index": 0, "verdict": "edit", "text": 3},
        ):
            assert browser.post("judge", json=body).status_code == 400, body
        assert browser.post("judge", content="index=0", headers={"Content-Type": "text/plain"}).status_code == 400
        with socket.create_connection((browser.base_url.host, browser.base_url.port or 0), timeout=5) as plain:
            length = f"Content-Type: application/json\r\nContent-Length: {MAX_BODY_BYTES + 1}\r\n\r\n"
            host = browser.base_url.netloc.decode()
            plain.sendall(f"POST {browser.base_url.path}judge HTTP/1.1\r\nHost: {host}\r\n{length}".encode())
            assert plain.recv(100).startswith(b"HTTP/1.1 400 ")
        assert browser.get("elsewhere").status_code == 404
        assert browser.post("undo", json={}).json() == {"index": None, "record": None}
    assert not review_verdicts_path(data).exists()


def test_finish_ends_the_server(data: Path) -> None:
    review = ReviewSession(data, sample=2)
    with ReviewServer(review) as server, httpx.Client(base_url=server.review_url, trust_env=False) as browser:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        judge(browser, 0, "accept")
        assert browser.post("finish", json={}).json()["accepted"] == 1
        thread.join(5)
        assert not thread.is_alive()


def test_the_page_loads_nothing_from_elsewhere(data: Path) -> None:
    with client(ReviewSession(data)) as browser:
        page = browser.get("")
    policy = page.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy and "unsafe" not in policy and "connect-src 'self'" in policy
    assert "img-src 'self' data:;" in policy, "a record names an address of its own, and would learn who reviews it"
    assert page.headers["Referrer-Policy"] == "no-referrer"
    assert not any(word in page.text for word in ("http://", "https://", "innerHTML", "{{"))


def test_a_crash_leaves_whole_verdicts(data: Path) -> None:
    review = ReviewSession(data, sample=3)
    review.judge(0, "accept")
    review.judge(1, "reject")
    path = review_verdicts_path(data)
    with path.open("r+b") as file:
        file.truncate(os.path.getsize(path) - 20)
    again = ReviewSession(data, sample=3)
    assert again.summary().judged == 1
    again.judge(2, "reject")
    assert ReviewSession(data, sample=3).summary().judged == 2 and len(read_review_verdicts(path)) == 2
    path.write_text('{"verdict": 1}\n', encoding="utf-8")
    with pytest.raises(DatasetError, match=r"review\.jsonl:1: is no verdict"):
        ReviewSession(data)


def test_flagged_records_come_first(data: Path, tmp_path: Path) -> None:
    rows = [chat(f"an unlike question {number**3}", f"reply {number}") for number in range(30)]
    rows[17] = rows[4]
    data = write(tmp_path / "flagged.jsonl", rows)
    report = tmp_path / "report.json"
    report.write_text(json.dumps(check_dataset(data).as_dict(), default=str), encoding="utf-8")
    review = ReviewSession(data, sample=6, flags=read_check_flags(report))
    records = review.as_dict()["records"]
    assert [row["line"] for row in records[:2]] == [5, 18] and len(records) == 6
    assert any("duplicates" in flag for flag in records[0]["flags"]) and not records[3]["flags"]
    report.write_text("[]", encoding="utf-8")
    with pytest.raises(ConfigError, match="is no report"):
        read_check_flags(report)


def test_the_sample_is_of_the_whole_file_and_repeats(tmp_path: Path) -> None:
    data = write(tmp_path / "many.jsonl", [chat(f"q{number}", f"a{number}") for number in range(1000)])
    lines = [each.line for each in ReviewSession(data, sample=50, seed=1).shown]
    assert lines == sorted(lines) and len(set(lines)) == 50 and min(lines) < 200 and max(lines) > 800
    assert lines == [each.line for each in ReviewSession(data, sample=50, seed=1).shown]
    assert lines != [each.line for each in ReviewSession(data, sample=50, seed=2).shown]


@pytest.mark.parametrize(
    ("row", "answer"),
    [
        ({"prompt": "a", "completion": "b"}, "b"),
        ({"instruction": "a", "input": "", "output": "b"}, "b"),
        (
            {
                "input": {"messages": [{"role": "user", "content": "a"}]},
                "preferred_output": [{"role": "assistant", "content": "b"}],
                "non_preferred_output": [{"role": "assistant", "content": "c"}],
            },
            "b",
        ),
        (
            {
                "messages": [
                    {"role": "user", "content": "a"},
                    {"role": "assistant", "content": [{"type": "text", "text": "b"}]},
                ]
            },
            "b",
        ),
    ],
)
def test_answers_of_every_kind_can_be_edited(tmp_path: Path, row: dict[str, Any], answer: str) -> None:
    ((_, record),) = read_records(write(tmp_path / "one.jsonl", [row]))
    assert editable_answer(record) == answer
    assert editable_answer(with_answer(record, "new")) == "new"
    assert editable_answer(record) == answer and record_hash(record) != record_hash(with_answer(record, "new"))


@pytest.mark.full
def test_a_browser_shows_every_kind_of_record(tmp_path: Path) -> None:
    hostile = "<img src=x onerror=\"document.title='owned'\"><script>document.title='owned'</script>"
    calls = [{"id": "c1", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Oslo"}'}}]
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
                {"role": "assistant", "content": hostile},
            ]
        }
    ]
    with serving(ReviewSession(write(tmp_path / "train.jsonl", rows))) as server:
        shown = Browser().dump(server.review_url)
    assert "<title>train.jsonl: review</title>" in shown and "owned'&lt;/script&gt;" in shown
    assert "image at http://127.0.0.1:9/x.png (tuneport review --remote-pictures can load it)" in shown
    assert "<img" not in shown
    assert 'weather({\n  "city": "Oslo"\n})  # c1' in shown and "record 1 of 1, line 1" in shown


@pytest.mark.full
def test_a_person_reviews_with_the_keyboard_alone(data: Path, tmp_path: Path) -> None:
    review = ReviewSession(data, sample=4)
    place, standing = "document.getElementById('place').textContent", "document.getElementById('standing').textContent"

    def at(number: int) -> str:
        return f"record {number} of 4, line {review.shown[number - 1].line}"

    with serving(review) as server, Browser().open(server.review_url) as tab:
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


def test_columns_are_mapped(tmp_path: Path) -> None:
    data = tmp_path / "faq.csv"
    data.write_text("question,answer\na,b\nc,d\n")
    review = ReviewSession(data, columns={"prompt": "question", "completion": "answer"})
    assert [(shown.at, shown.record.completion) for shown in review.shown] == [  # type: ignore[union-attr]
        ("line 2", "b"),
        ("line 3", "d"),
    ]
