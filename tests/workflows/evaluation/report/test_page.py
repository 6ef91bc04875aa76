"""The page of an evaluation: every number of its document, nothing that runs or loads, whatever the answers say."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from tests.support.document import HOSTILE, Document
from tests.support.evaluations import JOB, evaluation, job, judgement, report, rich, said
from tuneport.errors import StorageError
from tuneport.scoring.examples import Example
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
        f"Of 105 pairs {JOB} wins 50 and loses 20 to base; 30 are ties, 5 without a verdict. 2 more have equal answers."
        in shown
    )
    assert "Position bias: the answer that is shown first gets 65% of its preferences" in shown
    assert "10 of its 210 judgements have no line VERDICT" in shown and "line 51: lost" in shown
    assert "Because of 50." in shown and "Because of 0." in shown
    classes = document["details"][JOB]["classes"]
    assert all(f"{row['recall']:.1%} ({row['recall_low']:.1%} to {row['recall_high']:.1%})" in shown for row in classes)
    held, training = document["held_out"], document["training"][JOB]
    for mark in (held["sha256"], *held["against"].values(), training["training_sha256"], training["spec_sha256"]):
        assert mark in shown
    assert "the best step: 40 (epoch 1), validation loss 1.05" in shown and "validation rises from here" in shown
    assert "wins 90 rows and loses 16; 14 are alike" in shown and "line 105" in shown
    assert "/home/me" not in shown, "where a file lies is nobody's matter"


def test_nothing_from_outside_becomes_part_of_the_page() -> None:
    for words in HOSTILE:
        found = evaluation([10, 35], rows=40)
        rows = tuple(Example([{"role": "user", "content": words}], row.expected) for row in found.held_out.rows)
        models = tuple(
            replace(
                model,
                said=(said(words), replace(said(""), refused=words), *model.said[2:]),
                asked=replace(model.asked, model=words),
                price=words,
            )
            for model in found.models
        )
        said_so = judgement(3, 2)
        pairs = tuple(replace(each, in_order=words, turned=words) for each in said_so.pairs)
        found = replace(found, judgement=replace(said_so, pairs=pairs, judge=words, rubric=words, model=words))
        page = render_evaluation_page(
            report(replace(found, held_out=replace(found.held_out, rows=rows), models=models))
        )
        Document(page).expect_no_way_out()
        assert len(page) < 120_000, "long answers are cut"


def test_what_was_not_measured_is_left_out_or_said() -> None:
    alone = texts(report(evaluation([90], names=("base",), metrics=("chrf",))))
    assert "Not sure it was not compared with another model" in alone
    assert not {"Loss curves", "Row by row", "Forgetting and safety", "Which class"} & {
        each for each in ("Loss curves", "Row by row", "Forgetting and safety", "Which class") if each in alone
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
