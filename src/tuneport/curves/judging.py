"""From a job's points to the verdict on them."""

from __future__ import annotations

from collections.abc import Iterable

from tuneport.curves.look import Look
from tuneport.curves.questions import QUESTIONS
from tuneport.curves.series import Curve, curve_of
from tuneport.curves.verdict import CurveVerdict, Finding, Forgetting
from tuneport.types import MetricPoint


def judge(points: Iterable[MetricPoint], *, ended: bool = True, forgetting: Forgetting | None = None) -> CurveVerdict:
    """The verdict on a job's points as they are now. `ended`: no more will come. `forgetting` is an evaluation's, for a
    verdict on the whole run. The same points, the same verdict: what is drawn is drawn alike each time."""
    curve = curve_of(points)
    verdict = _asked(curve, ended)
    if verdict.finding is not Finding.OVERFITTING and len(curve.batches) and verdict.best_step != curve.valid.steps[-1]:
        # Of few evaluations of the whole file, the last of which is not the best, many noisy ones may know more.
        closer = _asked(curve.by_batches(), ended)
        verdict = closer if closer.finding is Finding.OVERFITTING else verdict
    return verdict if forgetting is None or not forgetting.shown else _with_forgetting(verdict, forgetting)


def _asked(curve: Curve, ended: bool) -> CurveVerdict:
    look = Look(curve, ended)
    return next(verdict for question in QUESTIONS if (verdict := question(look)) is not None)


def _with_forgetting(verdict: CurveVerdict, forgetting: Forgetting) -> CurveVerdict:
    span = f"({forgetting.low:.1%} to {forgetting.high:.1%})"
    told = f"{forgetting.drop:.1%} worse than the base on {forgetting.tasks} {span}"
    numbers = verdict.numbers | {"forgetting": forgetting.drop}
    if verdict.finding not in (Finding.HEALTHY, Finding.STILL_LEARNING, Finding.UNCLEAR):
        return verdict.model_copy(update={"evidence": (*verdict.evidence, told), "numbers": numbers})
    said = {
        "finding": Finding.FORGETTING,
        "summary": f"it forgets what the base could: {told}",
        "evidence": (*verdict.evidence, f"by its losses alone: {verdict.summary}"),
        "numbers": numbers,
        "fixes": ("lower the learning rate", "fewer epochs", "a smaller LoRA rank", "mix in general examples"),
    }
    return verdict.model_copy(update=said)
