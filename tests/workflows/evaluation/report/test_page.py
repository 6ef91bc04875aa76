"""The page of an evaluation: every number of its document, nothing that runs or loads, whatever the answers say."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.support.document import HOSTILE, Document
from tests.support.evaluations import JOB, evaluation, general, job, judgement, report, rich, said
from tuneport.errors import StorageError
from tuneport.pages.templates import page_templates
from tuneport.scoring.benchmarks import BenchmarkScore
from tuneport.scoring.examples import Call, Example
from tuneport.workflows.evaluation.lm_eval import LmEvalEvaluation
from tuneport.workflows.evaluation.report.page import EvaluationReport, render_evaluation_page


def texts(made: EvaluationReport) -> str:
    document = Document(render_evaluation_page(made))
    document.expect_no_way_out()
    return " ".join(" ".join(document.texts).split())


def test_the_page_holds_every_number_of_the_document() -> None:
    made = rich()
    shown, document = texts(made), json.loads(json.dumps(made.as_dict()))
    for each in document["scores"].values():
        for score in each.values():
            assert f"{score['value']:.1%}" in shown and f"{score['low']:.1%} to {score['high']:.1%}" in shown
    for each in document["comparisons"]:
        assert (
            f"{each['value']:+.1%} ( {each['low']:+.1%} to {each['high']:+.1%} )".replace("( ", "(").replace(" )", ")")
            in shown
        )
        assert each["verdict"] in shown and each["test"] in shown
    for each in document["models"]:
        assert f"{each['speed']['tokens_per_second']:.3g}" in shown and f"{each['answers']:,}, 0 kept" in shown
    for each in document["general_ability"][JOB]["changes"]:
        assert f"{each['tuned']['right']} of {each['tuned']['total']}, {each['tuned']['share']:.0%}" in shown
    for each in document["decision"]["reasons"]:
        assert each["words"] in shown
    said = document["judgement"]
    assert f"{said['wins']:.1%} {said['low']:.1%} to {said['high']:.1%}" in shown and "Prefer brevity." in shown
    assert (
        f"{JOB} wins 50 of 105 pairs and loses 20 to base; 30 are ties, 5 without a verdict. 2 more have equal answers."
        in shown
    )
    assert "Position bias: the answer that is shown first gets 65% of its preferences" in shown
    assert "10 of its 210 judgements have no line VERDICT" in shown and "line 51: lost" in shown
    assert f"A: {JOB} " in shown and "B: base " in shown
    assert "14 that only the base got right" in shown and "and 4 more" in shown
    assert "Because of 50." in shown and "Because of 0." in shown
    classes = document["details"][JOB]["classes"]
    assert all(f"{row['recall']:.1%} ({row['recall_low']:.1%} to {row['recall_high']:.1%})" in shown for row in classes)
    held, training = document["held_out"], document["training"][JOB]
    for mark in (held["sha256"], *held["against"].values(), training["training_sha256"], training["spec_sha256"]):
        assert mark in shown
    assert "the best step: 40 (epoch 1), validation loss 1.05" in shown and "validation rises from here" in shown
    assert "wins 90 rows and loses 16; 14 are alike" in shown and "line 105" in shown
    assert "/home/me" not in shown, "where a file lies is nobody's matter"


@pytest.mark.parametrize(
    ("low", "value", "high", "drawn"),
    [
        (0.25, 0.5, 0.75, ("26.00%", "50.00%", "48.00%")),
        (-math.inf, 0.5, math.inf, ("2.00%", "50.00%", "96.00%")),
        (0.5, 0.5, 0.5, ("50.00%", "50.00%", "0.30%")),
        (1.5, 2.0, 2.5, ("98.00%", "98.00%", "0.30%")),
    ],
)
def test_an_interval_stays_on_its_line(low: float, value: float, high: float, drawn: tuple[str, str, str]) -> None:
    macros: Any = page_templates().get_template("workflows/evaluation/report/macros.html").module
    elements = dict(Document(macros.interval(value, low, high, 0, 1, "score")).elements)
    assert (elements["rect"]["x"], elements["circle"]["cx"], elements["rect"]["width"]) == drawn


def saying(words: str) -> EvaluationReport:
    """One whose every text from outside is `words`, or begins or ends with them."""
    base, tuned = f"base {words}", f"{JOB} {words}"
    kept = general(lost=14)
    found = evaluation([10, 35], rows=40, names=(base, tuned), prices=(0.02, 0.1), kept=kept)
    changes = tuple(
        replace(
            each,
            ability=words,
            way=words,
            lost=tuple(replace(item, ask=words, answer=words) for item in each.lost),
        )
        for each in kept.changes
    )
    held = replace(
        found.held_out,
        path=Path(f"{words[:40]}.jsonl".replace("/", "_").replace("\0", "")),
        rows=tuple(
            Example([{"role": "user", "content": words}], words, (Call(words, words),)) for _ in found.held_out.rows
        ),
        task=words,
        sha256=words,
        against={words: words},
    )
    models = tuple(
        replace(
            model,
            said=(said(words), replace(said(""), refused=words), *model.said[2:]),
            asked=replace(model.asked, model=words, backend=words),
            price=words,
        )
        for model in found.models
    )
    details = {
        name: {**each, "labels": [words] * len(each["labels"]), "classes": [{**row, "class": words} for row in rows]}
        for name, each in found.scored.details.items()
        if (rows := each.get("classes")) is not None
    }
    scored = replace(found.scored, details={**found.scored.details, **details})
    metrics = tuple(replace(each, what=words) for each in found.metrics)
    judged = judgement(3, 2)
    pairs = tuple(replace(each, in_order=words, turned=words) for each in judged.pairs)
    score = BenchmarkScore(words, words, words, 0.8, 0.04, True, 100, (1.0,) * 80 + (0.0,) * 20)
    found = replace(
        found,
        held_out=held,
        models=models,
        metrics=metrics,
        scored=scored,
        general={tuned: replace(kept, changes=changes)},
        judgement=replace(judged, pairs=pairs, judge=words, rubric=words, model=words, against=words),
        lm_eval=LmEvalEvaluation(words, 5, {base: (score,), tuned: (score,)}),
    )
    one = job("overfitting")
    assert one.curve is not None
    curve = one.curve.model_copy(update={"summary": words, "evidence": (words,), "fixes": (words,)})
    spec = one.spec.model_copy(update={"model": words, "suffix": words})
    trained = {
        f"a {words}": replace(one, id=words, curve=curve, spec=spec),
        f"b {words}": replace(one, points=(), curve=None, no_curve=words),
    }
    decided = replace(report(found), trained=trained)
    reasons = tuple(replace(each, about=words, words=words) for each in decided.decision.reasons)
    return replace(decided, decision=replace(decided.decision, model=tuned, reasons=reasons))


@pytest.mark.parametrize("words", HOSTILE, ids=range(len(HOSTILE)))
def test_nothing_from_outside_becomes_part_of_the_page(words: str) -> None:
    page = render_evaluation_page(saying(words))
    page.encode("utf-8")
    document = Document(page)
    document.expect_no_way_out()
    assert document.structure == Document(render_evaluation_page(saying("plain"))).structure
    assert len(page) < 200_000, "long answers are cut"


def test_the_title_says_what_was_tuned_on_what_and_measured_on_what() -> None:
    title = f"small tuned on train ({JOB}), on test"
    made = report(evaluation([30, 110]), {JOB: job()})
    assert made.title == title == made.as_dict()["title"]
    page = render_evaluation_page(made)
    assert f"{title}</bdi></h1>" in page and f"<title>{title}: {made.decision.ruling}</title>" in page
    assert title in made._repr_html_()
    spec = job().spec.model_copy(update={"model": "HuggingFaceTB/SmolLM2", "dataset": Path("/home/me/tick.csv.gz")})
    assert replace(made, trained={JOB: replace(job(), spec=spec)}).title == f"SmolLM2 tuned on tick ({JOB}), on test"
    assert report(evaluation([90], names=("openai/gpt-4.1",))).title == "openai/gpt-4.1, on test"


def test_what_was_not_measured_is_left_out_or_said() -> None:
    alone = texts(report(evaluation([90], names=("base",), metrics=("chrf",))))
    assert "Not sure it was not compared with another model" in alone
    assert not {"Loss curves", "Where it loses", "Forgetting and safety", "Which class"} & {
        each for each in ("Loss curves", "Where it loses", "Forgetting and safety", "Which class") if each in alone
    }
    untold = replace(job(), points=(), curve=None, no_curve="together has no metrics of this job")
    page = texts(report(evaluation([30, 110]), {JOB: untold}))
    assert "unavailable, because together has no metrics of this job" in page


def test_the_same_spec_and_data_have_the_same_fingerprint_and_others_another() -> None:
    one, again, other = job(), job(), job(epochs=4)
    assert one.spec_sha256 == again.spec_sha256 != other.spec_sha256
    moved = replace(one, spec=one.spec.model_copy(update={"dataset": Path("/elsewhere/train.jsonl")}))
    assert moved.spec_sha256 == one.spec_sha256


def test_the_file_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    made = rich()
    made.write_html(tmp_path / "report.html")
    assert (tmp_path / "report.html").read_text(encoding="utf-8") == render_evaluation_page(made)
    with pytest.raises(StorageError):
        made.write_html(tmp_path / "no" / "folder" / "report.html")
