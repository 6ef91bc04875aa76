"""The report as HTML: what a dataset holds stays text, and the charts show the numbers of the findings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.support.browser import Browser
from tests.support.document import HOSTILE, Document
from tests.support.rows import chat, write
from tuneport.data.checks import CheckReport, Finding, Verdict, check_dataset
from tuneport.data.checks.finding import CheckEvidence
from tuneport.data.dataset import Dataset
from tuneport.workflows.checking.page import render_check_page, write_check_html


@pytest.fixture
def report(tmp_path: Path) -> CheckReport:
    return check_dataset(write(tmp_path / "train.jsonl", [chat(f"question {n}", f"answer {n * n}") for n in range(8)]))


def hostile(report: CheckReport, texts: Sequence[str] = HOSTILE) -> CheckReport:
    evidence = tuple(CheckEvidence((number,), words) for number, words in enumerate(texts, start=1))
    findings = [Finding("answers", Verdict.FAIL, words, evidence, words, 1, {"kind": {words: 0.5}}) for words in texts]
    clusters = [{"terms": [words, "b"], "rows": 2, "share": 0.5, "line": 1, "example": words} for words in texts]
    bins = [{"up_to": 2**power, "rows": power * 7 % 11} for power in range(4, 16)]
    findings += [
        Finding(
            "diversity",
            Verdict.WARN,
            "",
            details={"clusters": clusters, "languages": dict.fromkeys(texts, 0.1)},
        ),
        Finding("lengths", Verdict.PASS, "", details={"histogram": bins, "median": 40, "p95": 900, "context": 20_000}),
        Finding("classes", Verdict.PASS, "", details={"classes": dict.fromkeys(texts, 3), "entropy_bits": 1.5}),
        Finding("personal", Verdict.WARN, "", details={"kinds": dict.fromkeys(texts, 1)}),
        Finding("generated", Verdict.PASS, "", details={"marked": 0.25, "rows": 4, "phrases": {texts[0]: 0.01}}),
    ]
    return replace(report, dataset=Dataset("</title><script>.jsonl"), findings=tuple(findings), classes=None)


def test_what_the_dataset_holds_stays_text(report: CheckReport) -> None:
    page = render_check_page(hostile(report))
    page.encode("utf-8")
    document = Document(page)
    document.expect_no_way_out()
    plain = hostile(report, [f"plain {number}" for number, _ in enumerate(HOSTILE)])
    assert document.structure == Document(render_check_page(plain)).structure
    assert "a" not in {tag for tag, _ in document.elements}
    texts = "".join(document.texts)
    for words in HOSTILE[:4]:
        assert words in texts
    assert "x" * 2_000 + "…" in texts and "x" * 2_001 not in texts
    assert not any(each in page for each in "\x00\x08\x85\ud800")


def test_the_report_needs_no_network(report: CheckReport) -> None:
    page = render_check_page(report)
    assert "default-src 'none'" in page
    assert not any(word in page for word in ("http://", "https://", "url(", "@import", "<script"))


def test_a_plain_report_holds_every_finding_and_the_facts(report: CheckReport) -> None:
    texts = " ".join(Document(render_check_page(report)).texts)
    for finding in report.findings:
        assert finding.check in texts and finding.message in texts
    assert "fewer than the minimum of 200" in texts and "not ready" in texts
    assert f"{report.tokens.total:,}" in texts


def test_evidence_is_folded_where_there_is_much_of_it_or_nothing_is_wrong(report: CheckReport) -> None:
    evidence = tuple(CheckEvidence((number,), f"told {number}") for number in range(1, 6))

    def folded(verdict: Verdict) -> tuple[str, str]:
        found = Finding("answers", verdict, "", evidence, "do this")
        shown, _, rest = render_check_page(replace(report, findings=(found,), classes=None)).partition("<details>")
        return " ".join(Document(f"{shown}</div></section></main></body></html>").texts), rest

    shown, rest = folded(Verdict.WARN)
    assert "told 3" in shown and "do this" in shown and "2 more" in rest and "told 4" in rest and "told 4" not in shown
    shown, rest = folded(Verdict.PASS)
    assert "told" not in shown and "do this" not in shown and "5 evidence" in rest and "told 5" in rest


def test_the_charts_show_the_numbers(report: CheckReport) -> None:
    document = Document(render_check_page(hostile(report)))
    texts = " ".join(document.texts)
    assert "4,097" not in texts and "2,049 to 4,096" not in texts  # bins are half open: the title names their edges
    assert "2,048 to 4,096 tokens: 7 rows" in texts
    assert "context 20,000" in texts and "entropy 1.50 bits" in texts and "25.0%" in texts
    bars = [
        attributes["width"]
        for tag, attributes in document.elements
        if tag == "rect" and "%" in (attributes["width"] or "")
    ]
    assert "100.00%" in bars


def test_without_details_there_are_no_charts(report: CheckReport) -> None:
    bare = replace(report, findings=(Finding("schema", Verdict.PASS, "fine"),), classes=None)
    assert not {"svg", "table"} & {tag for tag, _ in Document(render_check_page(bare)).elements}


def test_the_file_appears_whole(report: CheckReport, tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    path.write_text("before")
    write_check_html(report, path)
    assert path.read_text(encoding="utf-8") == render_check_page(report)
    assert not list(tmp_path.glob(".tuneport-*"))


@pytest.mark.full
def test_a_browser_runs_nothing_of_it(report: CheckReport, tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    write_check_html(hostile(report), path)
    shown: Any = Browser().dump(path.as_uri())
    assert "<title>title&gt;&lt;script&gt;.jsonl: data check</title>" in shown
    assert "<img" not in shown and "<script" not in shown
