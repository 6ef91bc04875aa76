"""The page of `tuneport rate` without a browser: who may ask it, and what it tells nobody; its command."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("fastapi", reason="an extra: pip install 'tuneport[serve]'")

from starlette.testclient import TestClient

from tests.support.commands import Run
from tuneport.scoring.people.answers import read_pairs_for_raters, write_pairs_for_raters
from tuneport.scoring.people.blind import BlindRating
from tuneport.scoring.people.ratings import RatingFile, ratings_path
from tuneport.serve.http.access import CSRF_HEADER
from tuneport.serve.local_pages.rating import create_app


@pytest.fixture
def answers(tmp_path: Path) -> Path:
    path = tmp_path / "secret-name-of-a-file.jsonl"
    rows = [{"id": f"row-{n}", "prompt": f"q {n}", "answer_a": f"one {n}", "answer_b": f"two {n}"} for n in range(3)]
    write_pairs_for_raters(
        path, {"a": "secret-base", "b": "secret-tuned"}, [*rows, {**rows[0], "id": "s", "answer_b": "one 0"}]
    )
    return path


def opened(answers: Path) -> TestClient:
    app = create_app(BlindRating(read_pairs_for_raters(answers), RatingFile(ratings_path(answers))))
    client = TestClient(app, base_url="http://127.0.0.1")
    client.headers[CSRF_HEADER] = re.search(r'csrf-token" content="(\w+)"', client.get("/").text)[1]  # type: ignore[index]
    return client


def test_a_rater_learns_nothing_but_texts_and_goes_on_where_he_was(answers: Path) -> None:
    client, told = opened(answers), []

    def ask(path: str, **body: Any) -> Any:
        answer = client.post(f"/rating/{path}", json={"rater": "Ana", **body})
        told.append(f"{answer.headers} {answer.text}")
        assert answer.status_code == 200, answer.text
        return answer.json()

    standing = ask("begin")
    assert (standing["judged"], standing["total"]) == (0, 3)
    ask("judge", view=standing["next"]["view"], choice="left", note="hm", seconds=2.5)
    assert ask("undo")["next"]["note"] == "hm"
    standing = ask("judge", view=standing["next"]["view"], choice="right")
    told += [client.get("/").text, client.get("/rating/begin").text]
    keys = [pair.key for pair in read_pairs_for_raters(answers).pairs]
    assert not [word for word in ("secret", "row-", *keys) for text in told if word in text]

    client = opened(answers)  # another process would read the same file
    assert ask("begin") == standing
    while standing["next"]:
        standing = ask("judge", view=standing["next"]["view"], choice="bad")
    assert (standing["judged"], standing["total"]) == (3, 3)


def test_who_may_ask(answers: Path) -> None:
    client = opened(answers)
    page = client.get("/")
    assert "script-src 'self';" in page.headers["content-security-policy"] and "unsafe" not in page.text
    asked = {"json": {"rater": "Ana"}}
    for wrong in ({CSRF_HEADER: ""}, {"host": "evil.example"}, {"origin": "http://evil.example"}):
        assert client.post("/rating/begin", **asked, headers=wrong).status_code == 403
    assert client.get("/", headers={"host": "evil.example"}).status_code == 403
    assert client.post("/rating/begin", json={"rater": " "}).status_code == 400
    assert client.post("/rating/begin", json={"rater": "Ana", "more": 1}).status_code == 400
    assert client.post("/rating/begin", content=b"x" * (2 << 20)).status_code == 413
    answer = client.post("/rating/judge", json={"rater": "Ana", "view": "none", "choice": "left"})
    assert "reload the page" in answer.json()["error"]["message"]
    half = json.dumps({"rater": "Ana", "view": "none", "choice": "left", "note": "\ud83d"})
    answer = client.post("/rating/judge", content=half, headers={"content-type": "application/json"})
    assert answer.status_code == 400 and "half of a character" in answer.json()["error"]["message"]
    assert not ratings_path(answers).exists()


def test_what_the_disk_refuses_is_not_counted_and_names_no_file(
    answers: Path, caplog: pytest.LogCaptureFixture
) -> None:
    client = opened(answers)
    view = client.post("/rating/begin", json={"rater": "Ana"}).json()["next"]["view"]
    ratings_path(answers).mkdir()
    answer = client.post("/rating/judge", json={"rater": "Ana", "view": view, "choice": "left"})
    assert answer.status_code == 507 and "Not kept" in answer.text and "secret" not in answer.text
    assert "secret-name-of-a-file.jsonl.ratings.jsonl cannot be written" in caplog.text
    ratings_path(answers).rmdir()
    body = {"rater": "Ana", "view": view, "choice": "right"}
    assert client.post("/rating/judge", json=body).json()["judged"] == 1


def test_the_command_counts(answers: Path, run: Run) -> None:
    code, empty, _ = run("rate", str(answers), "--results")
    assert code == 0 and "0 of 3 pairs judged" in " ".join(empty.split()) and "Nothing to count yet" in empty
    client = opened(answers)
    for name in ("Ana", "Ben"):
        standing = client.post("/rating/begin", json={"rater": name}).json()
        while (shown := standing["next"]) is not None:
            side = "left" if shown["left"].startswith("two") else "right"
            body = {"rater": name, "view": shown["view"], "choice": side, "note": "[b]ok", "seconds": 9}
            standing = client.post("/rating/judge", json=body).json()
    code, found, _ = run("rate", str(answers), "--results", "--json")
    assert code == 0 and found["names"] == {"a": "secret-base", "b": "secret-tuned"}
    assert (found["judged"], found["finished"], found["identical"]) == (3, 2, 1)
    assert (found["a_wins"], found["b_wins"], found["preferred"]) == (0, 3, "tie")
    assert found["p"] == pytest.approx(0.25)
    assert [rater["b"] for rater in found["raters"]] == [3, 3] and len(found["notes"]) == 6
    code, out, note = run("rate", str(answers), "--results")
    assert "No difference shown" in out and "secret-tuned" in out and "100% of 3" in out and "[b]ok" in out
    assert "1 pair has the same answer twice" in note
    code, _, error = run("rate", "none.jsonl")
    assert code == 2 and error.startswith("error: none.jsonl")
    answers.write_text(json.dumps({"prompt": "q", "answer_a": "x"}))
    code, _, error = run("rate", str(answers), "--results")
    assert code == 2 and "answer_b: is missing" in error


def test_what_others_wrote_is_neither_markup_nor_obeyed_by_the_terminal(run: Run) -> None:
    path = Path("pairs[v2].jsonl")  # in the working folder: a longer path would be broken at a line's end
    names = {"a": "model [v2]", "b": "tuned[/bold]"}
    pair = {"prompt": "q", "answer_a": "x", "answer_b": "y"}
    path.write_text(f"{json.dumps({'systems': names})}\n{json.dumps(pair)}\n")
    client = opened(path)
    view = client.post("/rating/begin", json={"rater": "Ana [x]"}).json()["next"]["view"]
    body = {"rater": "Ana [x]", "view": view, "choice": "left", "note": "so \x1b]0;pwned\x07 [red]it is[/]"}
    assert client.post("/rating/judge", json=body).status_code == 200
    code, out, _ = run("rate", str(path), "--results")
    assert code == 0 and "pairs[v2].jsonl" in out and "model [v2]" in out and "tuned[/bold]" in out and "Ana [x]" in out
    assert "\x1b" not in out and "\x07" not in out and "[red]it is[/]" in out
