"""Whatever a template writes is text: each page is rendered again with a hostile text after all that it fills in."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from tests.support.document import Document, hostile_holes
from tests.support.evaluations import JOB, evaluation, report, rich
from tests.workflows.comparison.test_comparison import ENDPOINT, OWN, TOKENS, UNKNOWN, comparison
from tuneport import check, plan, preview
from tuneport.scoring.benchmarks import BenchmarkScore
from tuneport.workflows.checking.page import render_check_page
from tuneport.workflows.comparison.page import render_comparison_page
from tuneport.workflows.evaluation.lm_eval import LmEvalEvaluation
from tuneport.workflows.evaluation.report.page import render_evaluation_page


def benchmarks() -> str:
    score = BenchmarkScore("task", "acc", "", 0.8, 0.04, True, 100, (1.0,) * 80 + (0.0,) * 20)
    scores = {"base": (score,), JOB: (replace(score, stderr=None),)}
    return render_evaluation_page(report(replace(evaluation([30, 110]), lm_eval=LmEvalEvaluation("1", 5, scores))))


PAGES: dict[str, Callable[[Path], str]] = {
    "check": lambda dataset: render_check_page(check(dataset)),
    "comparison": lambda _: render_comparison_page(comparison(TOKENS, ENDPOINT, OWN, UNKNOWN)),
    "evaluation": lambda _: render_evaluation_page(rich()),
    "benchmarks": lambda _: benchmarks(),
    "view of a check": lambda dataset: check(dataset)._repr_html_(),
    "view of a plan": lambda dataset: plan(dataset, model="llama-3.2-1b-instruct", gpu="L4")._repr_html_(),
    "view of a preview": lambda dataset: preview(dataset, model="gpt-4.1-mini", backend="openai")._repr_html_(),
    "view of an evaluation": lambda _: rich()._repr_html_(),
}


@pytest.mark.parametrize("name", PAGES)
def test_no_hole_of_a_report_lets_markup_in(dataset: Path, name: str) -> None:
    plain = PAGES[name](dataset)
    with hostile_holes():
        changed = PAGES[name](dataset)
    document = Document(changed)
    assert document.structure == Document(plain).structure
    assert "".join(document.texts).count("<script>") > 10, "the text is there, as text"
