"""The answer that is always the same class: the least that a model of a classification has to beat."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path

from rich.console import Console

from tests.support.document import Document
from tests.support.evaluations import JOB, evaluation, general, job, majority, report, said
from tests.support.rows import write
from tuneport.cli.views.evaluation import print_evaluation
from tuneport.data.dataset import Dataset
from tuneport.scoring.examples import Example
from tuneport.scoring.scores import score_all
from tuneport.workflows.evaluation.decision import DecisionReason, decide_evaluation
from tuneport.workflows.evaluation.majority import MajorityClass, count_classes, score_majority_class
from tuneport.workflows.evaluation.report.page import render_evaluation_page
from tuneport.workflows.evaluation.result import Evaluation

UNEVEN = [*["no"] * 90, *["yes"] * 30]


def uneven(answers: list[str], *, names: tuple[str, ...] = ("base", JOB)) -> Evaluation:
    """120 rows of which 90 are "no": a base that says something else, and a tuned model that gives these answers."""
    found = evaluation([0, 0], kept=general())
    rows = tuple(replace(row, expected=label) for row, label in zip(found.held_out.rows, UNEVEN, strict=True))
    texts = {names[0]: ["I cannot tell."] * 120, names[1]: answers}
    models = tuple(replace(model, said=tuple(said(text) for text in texts[model.asked.name])) for model in found.models)

    answered = {model.asked.name: [one.answer for one in model.said] for model in models}
    held = replace(found.held_out, rows=rows)
    found = replace(found, held_out=held, models=models, scored=score_all(rows, answered, found.metrics))
    return replace(found, majority=majority(found, 0.7, "no"))


def told(found: Evaluation) -> tuple[str, DecisionReason]:
    decision = decide_evaluation(found, trained={JOB: job()})
    [reason, untold] = [each for each in decision.reasons if each.about == "most frequent class"]
    assert untold.weight == "note" and untold.words.endswith('not told the classes: add "base instructed"')
    return decision.ruling, reason


def test_a_model_that_says_one_class_is_not_shipped_however_bad_its_base_is() -> None:
    ruling, reason = told(uneven(["no"] * 120))
    assert ruling == "do not ship" and reason.weight == "against"
    assert reason.words == "it is no better than answering always 'no': 75.0% by accuracy"


def test_a_model_hardly_above_it_is_not_sure() -> None:
    ruling, reason = told(uneven([*["no"] * 90, "yes", *["no"] * 29]))
    assert (ruling, reason.weight) == ("not sure", "doubt") and "not shown to be better" in reason.words


def test_a_model_that_finds_the_rare_class_is_better_by_one_of_the_scores() -> None:
    """Its accuracy is that of saying "no": what it finds is paid for with false alarms."""
    ruling, reason = told(uneven([*["yes"] * 24, *["no"] * 66, *["yes"] * 24, *["no"] * 6]))
    assert (ruling, reason.weight) == ("ship", "note") and reason.words.endswith("42.9% by macro_f1")
    ruling, reason = told(uneven(UNEVEN))
    assert (ruling, reason.weight) == ("ship", "note") and reason.words.endswith("75.0% by accuracy")


def test_the_class_is_that_of_the_training_data(tmp_path: Path) -> None:
    rows = [Example([{"role": "user", "content": f"{n}"}], label) for n, label in enumerate("aabbb")]
    trained = [{"messages": [{"role": "user", "content": f"{n}?"}, {"role": "assistant", "content": label}]}
               for n, label in enumerate("aaab")]  # fmt: skip
    file = write(tmp_path / "train.jsonl", trained)
    assert count_classes(rows, Dataset(file)).majority == MajorityClass("a", 0.75, "train.jsonl")
    assert count_classes(rows, None).majority == MajorityClass("b", 0.6, "the held-out rows")
    assert count_classes(rows, Dataset(tmp_path / "gone.jsonl")).majority.label == "b"


def test_a_base_that_was_told_the_classes_is_not_asked_for_again() -> None:
    found = uneven(UNEVEN)
    told_it = replace(found.models[0], asked=replace(found.models[0].asked, prompting="instructed"))
    for models in ((told_it, found.models[1]), (found.models[1],)):
        decision = decide_evaluation(replace(found, models=models), trained={JOB: job()})
        assert len([each for each in decision.reasons if each.about == "most frequent class"]) == 1


def test_it_is_a_row_on_the_terminal_on_the_page_and_in_the_document() -> None:
    found = uneven(UNEVEN)
    console = Console(width=80, record=True, file=io.StringIO())
    print_evaluation(found, console)
    lines = console.export_text().splitlines()
    assert [line.split()[2] for line in lines if line.startswith("  always 'no'")] == ["75.0%", "42.9%"]
    assert "always 'no': the most frequent class, 70% of train.jsonl; no model is asked" in " ".join(lines)
    page = " ".join(Document(render_evaluation_page(report(found))).texts)
    assert page.count("always 'no'") >= 3 and "42.9%" in page
    document = json.loads(json.dumps(found.as_dict()))
    assert document["majority"]["label"] == "no" and document["majority"]["scores"]["accuracy"]["value"] == 0.75
    assert [each["name"] for each in document["models"]] == ["base", JOB], "it is none of the models"


def test_no_metric_of_classes_no_baseline() -> None:
    found = evaluation([3, 4], rows=10, metrics=("chrf",))
    answers = [one.answer for one in found.models[-1].said]
    of = MajorityClass("a", 0.5, "train.jsonl")
    assert score_majority_class(of, found.held_out.rows, JOB, answers, found.metrics) is None
