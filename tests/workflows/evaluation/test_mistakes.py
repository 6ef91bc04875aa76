"""What the last model gets wrong: of a classification all such rows, of other tasks the worst."""

from __future__ import annotations

import io
from dataclasses import replace

from rich.console import Console

from tests.support.document import Document
from tests.support.evaluations import JOB, evaluation, report, said
from tuneport.cli.views.evaluation import print_evaluation
from tuneport.workflows.evaluation.mistakes import WORST, find_mistakes
from tuneport.workflows.evaluation.report.page import render_evaluation_page
from tuneport.workflows.evaluation.result import Evaluation


def shown(found: Evaluation) -> list[str]:
    console = Console(width=80, record=True, file=io.StringIO())
    print_evaluation(found, console)
    return console.export_text().splitlines()


def test_its_own_mistakes_come_before_wins_and_losses() -> None:
    """Rows that both get wrong are neither won nor lost, and were not on the page."""
    found = evaluation([30, 61])
    mistakes = find_mistakes(found)
    assert mistakes is not None and mistakes.sentence == "59 of 120 rows are wrong by accuracy"
    assert mistakes.places == tuple(range(61, 120))
    page = " ".join(" ".join(Document(render_evaluation_page(report(found))).texts).split())
    order = [page.index(each) for each in ("Where it is wrong", "Where it loses to base", "Where it beats base")]
    assert order == sorted(order) and "line 62" in page[order[0] : order[1]]
    assert "59 of 120 rows are wrong by accuracy. By accuracy, job-1f2e wins 61 rows" in page


def test_a_model_alone_shows_its_mistakes_too() -> None:
    found = evaluation([110], names=(JOB,))
    page = " ".join(" ".join(Document(render_evaluation_page(report(found))).texts).split())
    assert "10 of 120 rows are wrong by accuracy." in page and "Where it is wrong" in page
    assert "Where it beats" not in page and page.count(f"{JOB} I cannot tell.") == 2
    assert shown(found)[-4:][0] == f"{JOB}: 10 of 120 rows are wrong by accuracy"


def test_the_terminal_shows_three_a_line_each() -> None:
    lines = shown(evaluation([30, 61]))
    head = lines.index(f"{JOB}: 59 of 120 rows are wrong by accuracy")
    assert lines[head + 1] == "  line 62: expected 'delivery', said 'invoice': Message 61: where is it?"
    assert len(lines[head:]) == 4 and max(map(len, lines)) <= 80


def test_what_a_model_says_stays_within_its_line() -> None:
    found = evaluation([0, 119])
    judged = found.models[-1]
    answers = (*judged.said[:-1], said("a\nline: not one of ours \x1b[2J" + "x" * 900))
    found = replace(found, models=(found.models[0], replace(judged, said=answers)))
    lines = shown(found)
    assert lines[-2] == f"{JOB}: 1 of 120 rows is wrong by accuracy" and len(lines[-1]) <= 80
    refused = replace(judged, said=(*judged.said[:-1], replace(said(""), refused="too long")))
    assert "expected 'invoice', refused: Message 119" in shown(replace(found, models=(found.models[0], refused)))[-1]


def test_where_no_row_is_right_or_wrong_the_worst_are_shown() -> None:
    found = evaluation([30, 110], metrics=("chrf",))
    mistakes = find_mistakes(found)
    assert mistakes is not None and mistakes.sentence == "the worst answers by chrf" and len(mistakes.places) == WORST
    assert min(mistakes.places) >= 110
    page = " ".join(Document(render_evaluation_page(report(found))).texts)
    assert "Its worst answers" in page and "Where it is wrong" not in page


def test_no_mistakes_are_told_as_such() -> None:
    assert shown(evaluation([0, 120]))[-1] == f"{JOB}: 0 of 120 rows are wrong by accuracy"
