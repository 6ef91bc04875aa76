"""Metrics of classes, fields, calls and likelihood; which of them suit a dataset; and one of the user's own."""

from __future__ import annotations

import builtins
import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import confusion_matrix, f1_score, precision_recall_fscore_support

from tuneport.errors import ConfigError
from tuneport.installation import install_extra
from tuneport.scoring.examples import Answer, Call, Example
from tuneport.scoring.metrics import METRICS, load_metric, suitable_metric_names
from tuneport.scoring.metrics.classes import class_score_report
from tuneport.scoring.metrics.structured import field_score_counts, field_score_report
from tuneport.scoring.prompting import score_expected_answers
from tuneport.scoring.scores import score_all
from tuneport.scoring.statistics.tally import Tally

LABELS = ["refund", "delivery", "invoice", "other"]


def row(expected: str = "", *calls: Call, **fields: Any) -> Example:
    return Example([{"role": "user", "content": "?"}], expected, calls=calls, **fields)


def tally_of(name: str, pairs: list[tuple[str, str]], **options: Any) -> Tally:
    rows, answers = [row(want) for want, _ in pairs], [Answer(said) for _, said in pairs]
    return load_metric(name, **options).tally(rows, answers)


@pytest.mark.parametrize(
    ("name", "expected", "said", "right"),
    [
        ("exact_match", "Refund", " refund. ", True),
        ("exact_match:strict", "Refund", "refund", False),
        ("exact_match:squad", "the Eiffel Tower!", "Eiffel tower", True),
        ("exact_match:squad", "Eiffel Tower", "the tower of Eiffel", False),
        ("exact_match:number", "#### 1,250", "So it is 1250.0", True),
        ("exact_match:number", "12", "none", False),
        ("exact_match:json", '{"a": 1}', '```json\n{"a": 1.0}\n```', True),
        ("json_valid", "", '```json\n{"a": 1}\n```', False),
        ("json_valid", "", '{"a": 1}', True),
    ],
)
def test_an_answer_is_right_by_a_named_rule(name: str, expected: str, said: str, right: bool) -> None:
    assert tally_of(name, [(expected, said)]).corpus == right


@pytest.mark.parametrize("classes", [4, 1500])
def test_classes_are_scored_as_by_scikit_learn(classes: int) -> None:
    """Answers that are no class are nobody's; 1,500 classes go through the sparse table."""
    rng = np.random.default_rng(2)
    names = [f"class {number}" for number in range(classes)]
    expected = [*names, *rng.choice(names, 2 * classes)]
    said = [want if rng.random() < 0.6 else str(rng.choice([*names, "no idea"])) for want in expected]
    rows, answers = [row(want) for want in expected], [Answer(text.upper()) for text in said]
    reference = f1_score(expected, said, labels=names, average="macro", zero_division=0)
    scored = score_all(rows, {"model": answers}, [METRICS["macro_f1"], METRICS["accuracy"]]).scores["model"]
    assert scored["macro_f1"].value == pytest.approx(reference, abs=1e-12)
    assert scored["macro_f1"].low < reference < scored["macro_f1"].high
    assert scored["accuracy"].value == pytest.approx(np.mean(np.array(expected) == np.array(said)))


def test_the_class_table_and_the_confusion_matrix_are_scikit_learns() -> None:
    rng = np.random.default_rng(4)
    expected = [*LABELS, *rng.choice(LABELS, 40)]
    said = [want if rng.random() < 0.5 else str(rng.choice([*LABELS, "?"])) for want in expected]
    report = class_score_report([row(want) for want in expected], [Answer(text) for text in said])
    names = report["labels"]
    assert report["confusion"] == confusion_matrix(expected, said, labels=[*names, "?"])[:-1].tolist()
    reference = precision_recall_fscore_support(expected, said, labels=names, zero_division=0)
    for key, values in zip(("precision", "recall", "f1", "rows"), reference, strict=True):
        assert [each[key] for each in report["classes"]] == pytest.approx(values.tolist()), key


@pytest.mark.parametrize(
    ("expected", "said", "counts"),
    [
        ({"a": 1, "b": {"c": "x", "d": None}}, {"a": 1, "b": {"c": "y"}}, (1, 3, 2)),
        ({"items": ["x", "y"]}, {"items": ["y", "x", "x"]}, (2, 2, 3)),
        ({"a": 1}, {"a": True}, (0, 1, 1)),
        ({"a": []}, {"a": []}, (1, 1, 1)),
        ({"a": 1}, None, (0, 1, 0)),
        ([{"n": "p", "q": 1}, {"n": "r", "q": 2}], [{"n": "r", "q": 2}, {"n": "p", "q": 3}], (3, 4, 4)),
    ],
)
def test_fields_are_matched_by_place_and_value(expected: Any, said: Any, counts: tuple[int, int, int]) -> None:
    """By hand: right, expected, given. Entries of lists have no order; the most alike belong together."""
    assert field_score_counts(expected, said) == counts


def test_fields_are_scored_over_all_rows_and_by_path() -> None:
    pairs = [('{"a": 1, "b": [{"c": 2}]}', '{"a": 1, "b": [{"c": 3}]}'), ('{"a": 1}', "sorry")]
    assert tally_of("field_precision", pairs).corpus == pytest.approx(1 / 2)
    assert tally_of("field_recall", pairs).corpus == pytest.approx(1 / 3)
    assert tally_of("field_f1", pairs).corpus == pytest.approx(2 / 5)
    assert tally_of("field_f1", pairs).per_row.tolist() == pytest.approx([0.5, 0])
    table = field_score_report([row(want) for want, _ in pairs], [Answer(said) for _, said in pairs])["fields"]
    assert [(each["field"], each["right"], each["expected"], each["given"]) for each in table] == [
        ("a", 1, 2, 1),
        ("b[].c", 0, 1, 1),
    ]


def test_schemas_are_the_rows_own_or_given() -> None:
    schema = {"type": "object", "required": ["a"], "properties": {"a": {"type": "integer"}}}
    rows = [row(schema=schema), row(schema=schema), row()]
    answers = [Answer('{"a": 1}'), Answer('{"a": "1"}'), Answer('{"b": 1}')]
    assert load_metric("schema_valid", schema=schema).tally(rows, answers).right.tolist() == [True, False, False]
    with pytest.raises(ConfigError, match="row 3 has no `schema`"):
        METRICS["schema_valid"].tally(rows, answers)
    with pytest.raises(ConfigError, match="row 1 is not a JSON schema"):
        load_metric("schema_valid", schema={"type": "wish"}).tally([row()], answers[:1])


WEATHER, NEWS = Call("weather", '{"city": "Ulm", "days": 2}'), Call("news", "{}")


@pytest.mark.parametrize(
    ("said", "names", "calls", "in_order", "f1"),
    [
        ([Call("weather", '{"days":2,"city":"Ulm"}'), NEWS], 1, 1, 1, 1.0),
        ([NEWS, WEATHER], 1, 1, 0, 1.0),
        ([WEATHER, Call("news", '{"topic": "x"}')], 1, 0, 0, 0.5),
        ([WEATHER], 0, 0, 0, 2 / 3),
        ([WEATHER, NEWS, NEWS], 0, 0, 0, 0.8),
        ([Call("weather", '{"city": "Ulm", "days": true}'), Call("news", "")], 1, 0, 0, 0.5),
        ([], 0, 0, 0, 0.0),
    ],
)
def test_calls_match_by_name_and_arguments(said: list[Call], names: int, calls: int, in_order: int, f1: float) -> None:
    rows, answers = [row("", WEATHER, NEWS)], [Answer("", tuple(said))]
    measured = ("tool_name_exact", "tool_call_exact", "calls_in_order", "call_f1")
    found = [METRICS[name].tally(rows, answers).corpus for name in measured]
    assert found == pytest.approx([names, calls, in_order, f1])
    assert METRICS["call_f1"].tally([row("hello")], [Answer("hello")]).corpus == 1  # no call is what was expected


def test_likelihood_is_told_by_answer_byte_and_word() -> None:
    rows = [row("to be or"), row("not"), row("not")]

    def rank(asked: Any, choices: Any) -> list[list[float]]:
        assert len(choices) == 1
        return [[-8.0 if choices[0] == "not" else -4.0] for _ in asked]

    answers = [Answer("", log_likelihood=value) for value in score_expected_answers(rows, rank)]
    assert METRICS["answer_loss"].tally(rows, answers).corpus == pytest.approx(20 / 3)
    assert METRICS["bits_per_byte"].tally(rows, answers).corpus == pytest.approx(20 / 14 / math.log(2))
    assert METRICS["word_perplexity"].tally(rows, answers).corpus == pytest.approx(math.exp(20 / 5))
    with pytest.raises(ConfigError, match="backend with log-likelihoods"):
        METRICS["answer_loss"].tally(rows, [Answer("x")] * 3)


def test_a_metric_of_ones_own(monkeypatch: pytest.MonkeyPatch, isolated: Path) -> None:
    (isolated / "my_own.py").write_text(
        "def length(example, answer):\n    return len(answer.text)\n"
        "def polite(example, answer):\n    return 'please' in answer.text\n"
        "def broken(example, answer):\n    return 1 / len(answer.text)\n"
    )
    monkeypatch.syspath_prepend(str(isolated))
    pairs = [("", "please"), ("", "no"), ("", "")]
    assert tally_of("my_own:length", pairs).corpus == pytest.approx(8 / 3)
    assert tally_of("my_own:polite", pairs).right_or_wrong
    with pytest.raises(ConfigError, match="my_own:broken, row 3: ZeroDivisionError"):
        tally_of("my_own:broken", pairs)
    for name, complaint in (("my_own:gone", "cannot be imported"), ("a b:c", "import path"), ("bluu", "near are bleu")):
        with pytest.raises(ConfigError, match=complaint):
            load_metric(name)
    with pytest.raises(ConfigError, match="takes no option encoder; it takes none"):
        load_metric("bleu", encoder="x")


@pytest.mark.parametrize(
    ("earlier", "name"), [("words_shared", "token_f1"), ("calls", "tool_call_exact"), ("call_names", "tool_name_exact")]
)
def test_earlier_names_of_metrics_are_understood_and_written(earlier: str, name: str) -> None:
    chosen = load_metric(earlier)
    assert chosen.name == name
    rows = [row("", WEATHER)] if name.startswith("tool") else [row("a b")]
    answers = {"base": [Answer("", rows[0].calls)] if rows[0].calls else [Answer("a b")]}
    written = score_all(rows, answers, [chosen]).as_dict()["scores"]["base"]
    assert written[earlier] == written[name]
    assert written[name]["value"] == 1.0


def test_the_metrics_are_chosen_by_what_the_rows_are() -> None:
    assert suitable_metric_names([row("", WEATHER)], "extraction")[0] == "tool_call_exact"
    assert suitable_metric_names([row("refund")], "classification") == ["accuracy", "macro_f1"]
    assert "schema_valid" in suitable_metric_names([row("{}", schema={"type": "object"})], "extraction")
    assert "schema_valid" not in suitable_metric_names([row("{}")], "extraction")
    assert suitable_metric_names([row("x", tests="assert f()")], "code")[0] == "code_passed"
    assert suitable_metric_names([row("x")], "code")[0] == suitable_metric_names([row("x")], "style")[0] == "chrf"
    for task in ("classification", "extraction", "style", "code"):
        assert set(suitable_metric_names([row("x")], task)) <= METRICS.keys()


def test_a_missing_library_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *rest: Any) -> Any:
        if name.split(".")[0] in ("sacrebleu", "rouge_score_rs", "torchmetrics", "jsonschema"):
            raise ModuleNotFoundError(name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    for name in ("bleu", "chrf", "rougeL"):
        with pytest.raises(ConfigError, match=r"needs .*: " + re.escape(install_extra("eval"))):
            tally_of(name, [("a", "b")])


def test_models_are_compared_on_the_same_rows() -> None:
    rng = np.random.default_rng(6)
    rows = [row(str(rng.choice(LABELS))) for _ in range(200)]
    base = [Answer(each.expected if rng.random() < 0.5 else "?") for each in rows]
    tuned = [Answer(each.expected if rng.random() < 0.9 else "?") for each in rows]
    metrics = [METRICS["accuracy"], METRICS["macro_f1"]]
    scored = score_all(rows, {"base": base, "tuned": tuned, "base again": base}, metrics)
    verdicts = {(each.metric, each.model): each.difference.verdict for each in scored.comparisons}
    assert verdicts == {
        ("accuracy", "tuned"): "better",
        ("macro_f1", "tuned"): "better",
        ("accuracy", "base again"): "no difference shown",
        ("macro_f1", "base again"): "no difference shown",
    }
    assert scored.scores["tuned"]["accuracy"].method == "Wilson" and len(scored.details["tuned"]["classes"]) == 4
    assert scored.per_row["tuned"]["accuracy"] is not None
    with pytest.raises(ValueError, match="has answered 3 of 200"):
        score_all(rows, {"base": base[:3]}, metrics)
