"""`check` on a machine that has no vocabulary and gets none: an empty cache, no litellm, and a proxy that refuses."""

from __future__ import annotations

import html
from collections.abc import Iterator
from pathlib import Path

import pytest

import tuneport
from tests.support.commands import Run
from tests.support.document import Document
from tests.support.folders import FIXTURES
from tests.support.rows import chat, write
from tuneport.errors import ConfigError
from tuneport.installation import install_extra
from tuneport.openai_encodings import load_openai_encoding

DATA = FIXTURES / "datasets" / "support_intents.train.jsonl"
HELD_OUT = FIXTURES / "datasets" / "support_intents.test.jsonl"
UNKNOWN = "tokens were not counted: lengths, what exceeds a model's context, and prices are not known"
WHY = "the vocabulary o200k_base could not be downloaded ("


@pytest.fixture
def no_vocabulary(isolated: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    def missing(package: str, *parts: str) -> Path:
        raise FileNotFoundError(f"{package} is not installed")

    monkeypatch.setattr("tuneport.openai_encodings.find_package_file", missing)
    monkeypatch.delenv("TIKTOKEN_CACHE_DIR", raising=False)
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    load_openai_encoding.cache_clear()
    yield
    load_openai_encoding.cache_clear()


def test_every_check_that_needs_no_counts_goes_on(no_vocabulary: None, tmp_path: Path) -> None:
    whole = [finding.check for finding in tuneport.check(DATA).findings]
    assert len(whole) == 13
    broken = write(tmp_path / "broken.jsonl", [chat("Where is it?", "Here."), chat("Where is it?", "Here."), {}])
    report = tuneport.check(broken, context=100)
    assert [finding.check for finding in report.findings] == whole
    assert report.finding("schema").verdict == "fail" and report.flagged["duplicates.exact"] == [2]
    lengths = report.finding("lengths")
    assert (lengths.verdict, lengths.message, lengths.details) == ("warn", UNKNOWN, {})
    assert WHY in lengths.fix and lengths.fix.endswith(f"a copy comes with: {install_extra('litellm')}")
    assert report.tokens is None and "lengths.over" not in report.flagged
    with pytest.raises(ConfigError, match="tokens cannot be counted"):
        report.require_tokens()


def test_the_report_says_once_that_tokens_were_not_counted(no_vocabulary: None, run: Run, isolated: Path) -> None:
    code, out, error = run("check", str(DATA), "--validation", str(HELD_OUT), "--html", "report.html")
    told = " ".join(out.split())
    assert code == 0 and "every check passed" not in out and out.rstrip().endswith("1 warning, 12 passed")
    assert told.count("warn lengths") == told.count("tokens were not counted") == told.count("could not be") == 1
    assert out.splitlines()[0].endswith(", classification") and error.strip() == "the report: report.html"
    texts = " ".join(Document((isolated / "report.html").read_text()).texts)
    assert texts.count(UNKNOWN) == texts.count(WHY) == 1 and "worth a look" in texts
    assert UNKNOWN in html.unescape(tuneport.check(DATA)._repr_html_())
    code, document, _ = run("check", str(DATA), "--json")
    assert code == 0 and document["ok"] and document["tokens"] is None
    assert [each["message"] for each in document["findings"] if each["check"] == "lengths"] == [UNKNOWN]


def test_what_needs_a_price_still_stops(no_vocabulary: None, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-test")
    for command in (
        ["plan", str(DATA), "--model", "llama-3.1-8b-instruct"],
        ["compare", str(DATA), "--model", "gpt-4.1-mini", "--backend", "openai"],
        ["submit", str(DATA), "--model", "gpt-4.1-mini", "--backend", "openai", "--budget", "5"],
        ["advise", str(DATA), "--need", "task", "--model", "gpt-4.1-mini", "--backend", "openai"],
    ):
        code, _, error = run(*command)
        assert code == 2 and WHY in error and len(error.strip().splitlines()) == 1, command
    code, out, _ = run("advise", str(DATA), "--need", "task", "--prompt", "fails")
    assert code == 0 and "fine-tune" in out.splitlines()[0].lower()


def test_what_needs_no_counts_asks_for_no_vocabulary(no_vocabulary: None, run: Run) -> None:
    assert run("split", str(DATA), "-o", "parts")[0] == 0
    assert run("clean", str(DATA), "-o", "clean.jsonl")[0] == 0
