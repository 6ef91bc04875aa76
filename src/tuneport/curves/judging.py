"""Judges a job's points."""

from __future__ import annotations

from collections.abc import Iterable

from tuneport.curves.features import CurveFeatures
from tuneport.curves.rules import RULES
from tuneport.curves.series import Curve, build_curve
from tuneport.curves.verdict import CurveFinding, CurveForgetting, CurveVerdict
from tuneport.types import MetricPoint


def judge_curve(
    points: Iterable[MetricPoint], *, ended: bool = True, forgetting: CurveForgetting | None = None
) -> CurveVerdict:
    """Return the verdict on a job's points as they are now.

    `ended`: no more points will come. `forgetting`: the result of an evaluation, for a verdict on the whole run. The
    same points always get the same verdict.
    """
    curve = build_curve(points)
    verdict = _asked(curve, ended)
    if (
        verdict.finding is not CurveFinding.OVERFITTING
        and len(curve.batches)
        and verdict.best_step != curve.valid.steps[-1]
    ):
        # If there are few evaluations of the whole file, and the last is not the best, many noisy ones may know more.
        closer = _asked(curve.by_batches(), ended)
        verdict = closer if closer.finding is CurveFinding.OVERFITTING else verdict
    return verdict if forgetting is None or not forgetting.shown else _with_forgetting(verdict, forgetting)


def _asked(curve: Curve, ended: bool) -> CurveVerdict:
    features = CurveFeatures(curve, ended)
    return next(verdict for question in RULES if (verdict := question(features)) is not None)


def _with_forgetting(verdict: CurveVerdict, forgetting: CurveForgetting) -> CurveVerdict:
    span = f"({forgetting.low:.1%} to {forgetting.high:.1%})"
    told = f"{forgetting.drop:.1%} worse than the base on {forgetting.tasks} {span}"
    numbers = verdict.numbers | {"forgetting": forgetting.drop}
    if verdict.finding not in (CurveFinding.HEALTHY, CurveFinding.STILL_LEARNING, CurveFinding.UNCLEAR):
        return verdict.model_copy(update={"evidence": (*verdict.evidence, told), "numbers": numbers})
    said = {
        "finding": CurveFinding.FORGETTING,
        "summary": f"it forgets what the base model could do: {told}",
        "evidence": (*verdict.evidence, f"by its losses alone: {verdict.summary}"),
        "numbers": numbers,
        "fixes": ("lower the learning rate", "fewer epochs", "a smaller LoRA rank", "mix in general examples"),
    }
    return verdict.model_copy(update=said)
