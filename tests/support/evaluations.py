"""Evaluations made by hand: real scores of answers that are written here, so that borders can be met exactly."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import date
from pathlib import Path

from tuneport.curves import judge_curve
from tuneport.scoring.examples import Answer, Example
from tuneport.scoring.general.asking import AnsweredItem
from tuneport.scoring.general.comparison import GeneralAbilityComparison, compare_general_ability
from tuneport.scoring.judge import build_judge_request
from tuneport.scoring.judge import score_answers_by_judge as score_answers_by_judge
from tuneport.scoring.metrics import load_metric
from tuneport.scoring.scores import score_all
from tuneport.types import DataFile, Hyperparameters, MetricPoint, PreparedData, TuneSpec
from tuneport.workflows.evaluation.answering import EvaluationAnswer
from tuneport.workflows.evaluation.decision import decide_evaluation
from tuneport.workflows.evaluation.held_out import HeldOutRows
from tuneport.workflows.evaluation.judging.judgement import EvaluationJudgement, JudgedPair
from tuneport.workflows.evaluation.latency import EvaluationAnswerSpeed
from tuneport.workflows.evaluation.majority import MajorityBaseline, MajorityClass, score_majority_class
from tuneport.workflows.evaluation.models.asked_models import EvaluatedModel
from tuneport.workflows.evaluation.models.trained import TrainedModelJob
from tuneport.workflows.evaluation.report.page import EvaluationReport
from tuneport.workflows.evaluation.result import EvaluatedModelMeasurement, Evaluation

JOB = "job-1f2e"
LABELS = ("refund", "delivery", "password", "invoice")


def said(text: str) -> EvaluationAnswer:
    return EvaluationAnswer(text, [], 40, 4)


def evaluation(
    rights: Sequence[int],
    *,
    rows: int = 120,
    names: Sequence[str] = ("base", JOB),
    metrics: Sequence[str] = ("accuracy", "macro_f1"),
    prices: Sequence[float | None] = (),
    seconds: Sequence[float] = (),
    against: bool = True,
    leaks: int = 0,
    kept: GeneralAbilityComparison | None = None,
    prompt: str = "Message {}: where is it?",
) -> Evaluation:
    """`base` is right in its last so many rows, each other model in its first so many."""
    each = [Example([{"role": "user", "content": prompt.format(n)}], LABELS[n % len(LABELS)]) for n in range(rows)]
    answers = {
        name: [
            said(_answer(row, n, right=n >= rows - many if name == "base" else n < many)) for n, row in enumerate(each)
        ]
        for name, many in zip(names, rights, strict=True)
    }
    held = HeldOutRows(
        path=Path("test.jsonl"),
        rows=tuple(each),
        lines=tuple(range(1, rows + 1)),
        of=rows,
        exact=tuple(range(rows + 1, rows + 1 + leaks)),
        near=(),
        unusable=0,
        task="classification",
        against={"train.jsonl": "c0ffee" * 10} if against else {},
        sha256="ab12" * 16,
    )
    measured = tuple(
        EvaluatedModelMeasurement(
            EvaluatedModel(name, "local", f"{name}-id", "small" if name.startswith("job") else f"{name}-id"),
            tuple(answers[name]),
            EvaluationAnswerSpeed(pace / 2, pace, 4 / pace, 40, 4, pace / 6),
            usd,
            "by the token",
            12.5,
            0,
        )
        for name, usd, pace in zip(names, prices or [None] * len(names), seconds or [0.2] * len(names), strict=True)
    )
    chosen = tuple(load_metric(name) for name in metrics)
    scored = score_all(each, {name: [one.answer for one in answers[name]] for name in names}, chosen)
    return Evaluation(held, measured, chosen, scored, {} if kept is None else {names[-1]: kept})


def judgement(won: int, lost: int, *, always_first: int = 0, silent: int = 0, own: bool = False) -> EvaluationJudgement:
    """Of the last model beside the first one: so many pairs, in the order of the lines; in `always_first` of them the
    judge prefers the place, in `silent` it says nothing."""
    sides = ["AB"] * won + ["BA"] * lost + ["AA"] * always_first + ["--"] * silent
    texts = [f"Because of {n}.\nVERDICT: {side}" for n, both in enumerate(sides) for side in both]
    rows = [Example([{"role": "user", "content": f"{n}?"}], "") for n in range(len(sides))]
    judged = score_answers_by_judge(
        build_judge_request(rows, [Answer("x")] * len(rows), [Answer("y")] * len(rows)), lambda asked: texts
    )
    pairs = tuple(JudgedPair(n, n + 1, winner, *texts[2 * n : 2 * n + 2]) for n, winner in enumerate(judged.winners))
    return EvaluationJudgement("openai/gpt-5.1", "Prefer brevity.", JOB, "base", judged, pairs, 2, 0, 0, own)


def _answer(row: Example, n: int, *, right: bool) -> str:
    if right:
        return row.expected
    return "I cannot tell." if n % 7 == 0 else LABELS[(LABELS.index(row.expected) + 1 + n % 2) % len(LABELS)]


def job(kind: str = "healthy", *, rows: int = 900, epochs: int = 3) -> TrainedModelJob:
    """With a curve that is healthy, overfits from its first third on, ends in no number, or has no validation loss and
    knows its rows by heart."""
    points = []
    for step in range(1, 121):
        train = 2.4 * math.exp(-step / 40) + 0.35 + 0.02 * math.sin(step * 1.7)
        valid = train + 0.12
        if kind == "overfitting":
            train, valid = (
                2.4 * math.exp(-step / 25) + 0.01,
                1.0 + 1.4 * math.exp(-step / 12) + max(0, step - 40) * 0.012,
            )
        if kind == "diverged" and step > 60:
            train = float("nan")
        if kind == "memorised":
            train = 2.4 * math.exp(-step / 10) + 0.005
        measured = valid if step % 10 == 0 and kind != "memorised" else None
        points.append(
            MetricPoint(step=step, epoch=step / 40, train_loss=train, valid_loss=measured, learning_rate=1e-4)
        )
    file = DataFile(path=Path("train.jsonl"), sha256="cd34" * 16, format="openai", rows=rows, bytes=9)
    spec = TuneSpec(model="small", dataset=Path("/home/me/train.jsonl"), hyperparameters=Hyperparameters(epochs=epochs))
    return TrainedModelJob(JOB, spec, PreparedData(training=file, validation=file), tuple(points), judge_curve(points))


def general(*, lost: int = 0, unsafe: int = 0) -> GeneralAbilityComparison:
    """Of 40 facts and 40 refusals the base has 34 right; the tuned model so many fewer."""

    def judged(facts: int, refusals: int) -> list[AnsweredItem]:
        of = (("facts", facts), ("refusals", refusals))
        return [
            AnsweredItem(f"{ability}-{n}", ability, "likelihood", f"ask {n}?", f"answer {n}", n < right, 0.25)
            for ability, right in of
            for n in range(40)
        ]

    return compare_general_ability(judged(34, 34), judged(34 - lost, 34 - unsafe))


def majority(found: Evaluation, share: float, label: str = LABELS[0]) -> MajorityBaseline:
    """The class that so large a share of the training rows has, beside the last model."""
    judged, of = found.models[-1], MajorityClass(label, share, "train.jsonl")
    answers = [one.answer for one in judged.said]
    made = score_majority_class(of, found.held_out.rows, judged.asked.name, answers, found.metrics)
    assert made is not None
    return made


def report(found: Evaluation, trained: Mapping[str, TrainedModelJob] | None = None) -> EvaluationReport:
    return EvaluationReport(found, decide_evaluation(found, trained=trained), trained or {}, date(2026, 11, 26))


def rich() -> EvaluationReport:
    """One with all that a report may have."""
    found = evaluation(
        [30, 61, 104],
        names=("base", "base few-shot", JOB),
        prices=(0.02, 0.11, 0.021),
        leaks=3,
        kept=general(lost=14),
    )
    few = replace(found.models[1], asked=replace(found.models[1].asked, prompting="few-shot"))
    models = (found.models[0], few, found.models[2])
    found = replace(
        found, models=models, judgement=judgement(50, 20, always_first=30, silent=5), majority=majority(found, 0.38)
    )
    return report(found, {JOB: job("overfitting", epochs=8)})
