"""Two people at `tuneport rate` in headless Chromium, by keyboard alone; the server is killed under them."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.support.tabs import Tab, expect, opened
from tuneport.scoring.people.answers import read_pairs_for_raters, write_pairs_for_raters
from tuneport.scoring.people.ratings import ratings_path, read_ratings
from tuneport.scoring.people.results import compute_rating_results

pytestmark = pytest.mark.full

NAMES = {"a": "secret-base-model", "b": "secret-tuned-model"}
GOOD = "The parcel left on Tuesday.\n\n```python\nfor row in rows:\n    print(row)\n```\n\nThat is all."
PAIRS: list[dict[str, Any]] = [
    {"prompt": "Where is my parcel?", "answer_a": GOOD.replace("Tuesday", "Monday"), "answer_b": GOOD},
    {"prompt": "متى يصل طردي؟", "answer_a": "لا أعرف.", "answer_b": "سيصل يوم الجمعة: AB-1234."},
    {"prompt": "Say nothing.", "answer_a": "", "answer_b": "Nothing, then."},
    {
        "prompt": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "word " * 600},
        ],
        "answer_a": "<b>Long</b> " * 300,
        "answer_b": "short <script>alert(1)</script>",
        "reference": "Something between.",
    },
]


@contextmanager
def served(path: Path, port: int) -> Iterator[tuple[subprocess.Popen[str], str]]:
    command = [sys.executable, "-m", "tuneport.cli.main", "rate", str(path), "--port", str(port), "--json"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        text = ""
        while "}" not in text:
            line = process.stdout.readline()
            assert line, "it has ended"
            text += line
        yield process, json.loads(text)["url"].rstrip("/")
    finally:
        process.kill()
        process.communicate()


class Person:
    """Somebody with a keyboard and no mouse."""

    def __init__(self, tab: Tab, received: list[str]) -> None:
        self.tab, self.page = tab, tab.page
        self.page.on("response", lambda answer: received.append(f"{answer.url} {answer.all_headers()} {answer.text()}"))

    def begin(self, name: str, judged: int) -> None:
        self.tab.see("/")
        self.page.keyboard.type(name)
        self.page.keyboard.press("Enter")
        expect(self.page.locator("#count")).to_have_text(f"{judged} of {len(PAIRS)}")

    def press(self, key: str, judged: int) -> None:
        self.page.wait_for_timeout(320)  # a key that comes sooner is taken for one that was meant for the pair before
        self.page.keyboard.press(key)
        expect(self.page.locator("#count")).to_have_text(f"{judged} of {len(PAIRS)}")

    def prefers(self, *, b: bool) -> str:
        """The key for B's answer, which the page does not say: known here by its text."""
        right = self.page.locator("#right").inner_text()
        starts = [str(pair["answer_b"])[:12] for pair in PAIRS]
        b_is_right = any(right.startswith(start) for start in starts) and "Monday" not in right
        return "2" if b_is_right == b else "1"


def test_two_raters_by_keyboard_alone_through_a_killed_server(chromium: Any, tmp_path: Path) -> None:
    path, received = tmp_path / "secret-file.jsonl", list[str]()
    write_pairs_for_raters(path, NAMES, PAIRS)
    with served(path, 0) as (process, origin):
        port = int(origin.rsplit(":", 1)[1])
        with opened(chromium, origin) as first, opened(chromium, origin, width=400) as second:
            ana, ben = Person(first, received), Person(second, received)
            ana.tab.see("/")
            ana.tab.judged()
            ana.begin("Ana", 0)
            ben.begin("Ben", 0)
            ana.press(ana.prefers(b=True), 1)
            ben.press(ben.prefers(b=True), 1)
            # A note that is written before the verdict stays with it, through an undo, too.
            ana.page.keyboard.press("n")
            ana.page.keyboard.type("1 and 2 are no verdicts here")
            ana.tab.judged()
            ana.page.keyboard.press("Enter")
            ana.press("b", 2)
            ana.press("u", 1)
            expect(ana.page.locator("#note")).to_have_value("1 and 2 are no verdicts here")
            expect(ana.page.locator("#choose-bad")).to_have_class("was")
            ana.page.keyboard.press("Shift")
            ana.press("0", 2)
            ana.page.keyboard.press("1")  # at once, blindly
            ana.tab.told("That was quick")
            expect(ana.page.locator("#count")).to_have_text(f"2 of {len(PAIRS)}")

            process.kill()
            process.wait()
            ben.page.wait_for_timeout(320)
            ben.page.keyboard.press("ArrowLeft")
            ben.tab.told("Not kept: tuneport rate does not answer")
            kept = read_ratings(ratings_path(path))
            assert [(row.rater, bool(row.note)) for row in kept] == [("Ana", False), ("Ben", False), ("Ana", True)]
            ben.tab.trouble.clear()  # a browser complains of what it cannot reach

            with served(path, port):
                ben.press("ArrowLeft", 2)  # the same page goes on
                ben.tab.trouble.clear()  # and of the token of a page that is older than the server
                ben.tab.judged()
                ana.begin("ana ", 2)  # he came back
                for judged in (3, 4):
                    ana.press(ana.prefers(b=True), judged)
                    ben.press(ben.prefers(b=True), judged)
                for person in (ana, ben):
                    expect(person.page.get_by_role("heading", name="All judged")).to_be_visible()
                    assert person.tab.trouble == []
                ana.tab.judged()
    untold = ("secret", *(pair.key for pair in read_pairs_for_raters(path).pairs))
    assert len(received) > 20 and not [text for text in received for word in untold if word in text]
    found = compute_rating_results(read_pairs_for_raters(path), read_ratings(ratings_path(path)))
    assert (found.judged, found.finished, [rater.name for rater in found.raters]) == (4, 2, ["Ana", "Ben"])
    assert [row.b for row in found.raters] and found.raters[0].b == 3 and found.raters[0].tie == 1
    assert found.raters[1].a + found.raters[1].b == 4 and found.raters[1].b >= 3
    assert found.notes[0].text == "1 and 2 are no verdicts here"
