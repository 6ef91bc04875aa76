"""The rules that judge a curve. Each returns a verdict, or None if the next rule decides."""

from __future__ import annotations

import math
from statistics import median

from tuneport.curves.features import MEMORISED_ACCURACY, SCALE, CurveFeatures, shifted_log
from tuneport.curves.series import FEWEST_EVALUATIONS, FIRST_STEPS
from tuneport.curves.trends import (
    TAIL,
    falling_fit,
    mann_kendall,
    rise_after_lowest,
    roughness,
    theil_sen,
)
from tuneport.curves.verdict import CurveFinding, CurveVerdict

RISE = 0.05
"""The smallest rise that matters, as a share of the lowest validation loss. Full evaluations of a plateau vary by half
of it by themselves."""
SAID, SURE = 0.90, 0.99
"""How sure overfitting must be to be said, and to stop a job. The second is stricter than a test needs once, because a
live curve is asked after each evaluation, some thirty times."""
PERHAPS = 0.50
"""From here on a rise is reason enough not to call a curve healthy."""
AFTER_BEST, BATCHES_AFTER_BEST = 3, 10
"""Evaluations behind the best one without which no job is stopped, whatever the test says: two are what a patience of 2
waits for, and that ends a run on your own machine, not one that is billed. The second: where each is of some rows only.
"""
TREND, LASTING = 0.05, 2
"""The level of the Mann-Kendall test from the best evaluation on. A loss that rose in one jump may come down again, and
is no reason to stop until it has stayed up for LASTING times the fewest evaluations that a verdict needs."""
ACCURACY_GAIN = 0.05
"""If token accuracy has gained this much since the lowest loss, answers are better although probabilities are worse: no
reason to stop. A smaller gain is a handful of tokens of a small validation file: one of a dozen rows gained 2 % while
its loss, and that of 40 other rows, rose by a fifth."""
LEARNT_TOO = 0.97
"""At this validation accuracy, knowing the training rows is no fault: the task is that easy."""
ACCURACY_APART = 0.05
"""Between the accuracies of training and validation: less apart, nothing was memorised that was not learnt."""
FLAT = 0.03
"""Losses within this share of the lowest validation loss are as good as it; see PRIOR_NOISE."""
MEMORISING_FALL = 0.25
"""The fall of the training loss, as a share of it, while validation stays flat; a healthy last epoch, whose rate goes
to zero, has less."""
PLATEAU = 3
"""Evaluations, or a third of all, that have to be flat."""
FEWEST_STEPS = 6
"""Training losses without which nothing is called diverged: the first of them may be of odd rows."""
DIVERGED_ABOVE_START = 1.2
DIVERGED_LOST = 0.5
"""The share of the gain that a diverged run has lost at its end; spikes that recover do not count."""
NOISE_OF_DIVERGED = 4.0
STILL_GAIN = 0.02
"""The smallest further fall of the validation loss, as a share of it, that half as much training again would bring if
it slows down as it did."""
STILL_STEP = 0.05
"""The same from one evaluation of a running job to the next."""
STILL_RATIO = 0.4
"""The gain of the second half of training as a share of that of the first; a curve that flattens has much less."""
LITTLE, LITTLE_TRAIN = 0.02, 0.05
"""The change of the validation and of the training loss, as shares, below which a run has hardly begun or its rate is
too low. The second is larger because batches differ."""
BLIND = 0.25
"""Nothing can be said if only a rise greater than this share of the loss would be noticed (19 times of 20)."""


def judge_unmeasured_curve(features: CurveFeatures) -> CurveVerdict | None:
    if features.curve.by_reward:
        needs = "see reward and valid_reward in `tuneport metrics`"
        return features.unclear("the run is judged by rewards, not by a loss", needs=needs)
    if not len(features.curve.train) and not len(features.valid):
        return features.unclear("nothing has been measured yet", needs="losses; try again later")
    return None


def judge_diverged_curve(features: CurveFeatures) -> CurveVerdict | None:
    curve, before = features.curve, features.curve.before
    fixes = (
        "lower the learning rate (a tenth is a good first try)",
        "a longer warm-up",
        "look for broken rows: `tuneport check`",
    )
    if curve.broken_at is not None:
        said = f"it diverged: the training loss at step {curve.broken_at} is not a number"
        return features.verdict(CurveFinding.DIVERGED, said, fixes=fixes, since=curve.broken_at)
    if before is None or len(curve.train) < FEWEST_STEPS:
        return None
    parts = curve.train.in_stretches(20)
    low = min(range(len(parts)), key=parts.values.__getitem__)
    lowest, since = parts.values[low], parts.steps[low]
    first = min(curve.train.values[:FIRST_STEPS])  # where a rate wrecks the model at once, only the first one is sane
    if first < lowest:
        lowest, since = first, curve.train.steps[curve.train.values.index(first)]
    now = median(parts.values[-2:]) if len(parts) >= 10 else parts.values[-1]
    noise = NOISE_OF_DIVERGED * roughness([shifted_log(loss) for loss in curve.train.in_stretches(200).values])
    above_start = now > first * DIVERGED_ABOVE_START
    lost = now - lowest > max(DIVERGED_LOST * (before - lowest), RISE * before)
    if not (above_start or lost) or shifted_log(now) - shifted_log(lowest) < noise:
        return None
    told = f"training loss {before:.3g} at first, {lowest:.3g} at its lowest (step {since}), {now:.3g} now"
    said = f"it diverged after step {since}: {told}"
    return features.verdict(
        CurveFinding.DIVERGED, said, told, fixes=fixes, since=since, numbers={"train_loss_lowest": lowest}
    )


def judge_overfitting_curve(features: CurveFeatures) -> CurveVerdict | None:
    values, steps, best = features.valid.values, features.valid.steps, features.best
    rise = math.expm1(rise_after_lowest(features.logs))
    if len(values) < FEWEST_EVALUATIONS or rise < RISE:
        return None
    chance, _ = features.chance
    confidence = 1.0 - chance
    if confidence < (PERHAPS if features.train_falls else SAID):
        return None
    after, step = len(values) - 1 - best, features.best_step
    tail = values[best + 1 :][-max(TAIL, len(values) // 6) :]
    told = (
        f"validation loss {values[best]:.3g} at {features.place(step)}, {median(tail):.3g} by the last "
        f"{len(tail)} of the {after} evaluations after it: {rise:+.0%}, which noise alone does with p = {chance:.2g}"
    )
    if not features.train_falls:
        said = f"it is unstable: validation loss rises since step {step}, and the training loss does not fall"
        fixes = ("lower the learning rate", "a larger batch", "a longer warm-up")
        return features.verdict(
            CurveFinding.DIVERGED, said, told, features.train_told, fixes=fixes, since=step, numbers={"rise": rise}
        )
    trend, slope = mann_kendall(values[best:]), theil_sen(steps[best:], values[best:])
    trends = f"its trend since then: {slope * 100:+.2g} in 100 steps (Theil-Sen), p = {trend:.2g} (Mann-Kendall)"
    evidence = [told, features.train_told, trends]
    gain = features.accuracy_gain
    better = gain is not None and gain > ACCURACY_GAIN
    if better:
        evidence.append(f"but validation accuracy rose by {gain:.1%}, so answers may be as good as at step {step}")
    if features.memorised is not None:
        evidence.append(features.memorised)
    numbers = {"rise": rise, "noise": features.noise, "trend_p": trend, "slope_per_step": slope, "after_best": after}
    if confidence < SAID:
        said = f"no verdict: validation loss is {rise:.0%} above its lowest, which may be noise (p = {chance:.2g})"
        fixes = ("more validation rows", "evaluate more often", "keep the best epoch: `--option early_stopping=2`")
        return features.verdict(
            CurveFinding.UNCLEAR, said, *evidence, fixes=fixes, confidence=confidence, numbers=numbers
        )
    whole = (
        features.curve.full.values if features.curve.of_batches else ()
    )  # where noise is great, they must not say no
    agreed = not whole or whole[-1] > min(whole)
    enough = BATCHES_AFTER_BEST if features.curve.of_batches else AFTER_BEST
    return features.verdict(
        CurveFinding.OVERFITTING,
        f"overfitting since {features.place(step)}: validation loss {rise:+.0%} since then ({confidence:.1%} sure)",
        *evidence,
        fixes=features.against_overfitting(),
        since=step,
        confidence=confidence,
        sure=confidence >= SURE and agreed and not better and after >= (enough if trend <= TREND else LASTING * enough),
        numbers=numbers,
    )


def judge_memorised_curve(features: CurveFeatures) -> CurveVerdict | None:
    by_heart, accuracy = features.memorised, features.accuracy_now
    if by_heart is None:
        return None
    known = "memorised: the model has memorised the training rows"
    if not len(features.valid):
        said = f"{known}, and without a validation file it is unknown whether it learnt more"
        fixes = ("give a validation file", *features.against_overfitting())
        return features.verdict(CurveFinding.MEMORISED, said, by_heart, fixes=fixes)
    if accuracy is not None and accuracy >= min(LEARNT_TOO, MEMORISED_ACCURACY - ACCURACY_APART):
        return None
    if (
        len(features.valid) < FEWEST_EVALUATIONS
        or features.train_now is None
        or features.valid_now - features.train_now < SCALE
    ):
        return None
    right = "" if accuracy is None else f", {accuracy:.1%} of its tokens right"
    told = f"validation loss {features.valid_now:.3g}{right}"
    said = f"{known}, but not the validation rows (loss {features.valid_now:.3g})"
    return features.verdict(CurveFinding.MEMORISED, said, by_heart, told, fixes=features.against_overfitting())


def judge_short_curve(features: CurveFeatures) -> CurveVerdict | None:
    count = len(features.valid)
    if count >= FEWEST_EVALUATIONS:
        return None
    least = f"at least {FEWEST_EVALUATIONS} evaluations are needed"
    if count == 0:
        return features.unclear("there is no validation loss", needs=f"pass --validation FILE; {least}")
    are = "evaluations are" if count > 1 else "evaluation is"
    within = "more epochs, or `--option evaluate_every=N` on this machine"
    return features.unclear(f"{count} {are} too few", needs=f"{least}: {within}")


def judge_memorising_curve(features: CurveFeatures) -> CurveVerdict | None:
    fitted = falling_fit(features.logs)
    first = next(index for index, value in enumerate(fitted) if value <= fitted[-1] + FLAT)
    length, step = len(fitted) - first, features.valid.steps[first]
    then, now = features.train_at(step), features.train_now
    if length < max(PLATEAU, len(fitted) / 3) or now is None or then is None or then <= 0:
        return None
    fall = (then - now) / max(then, SCALE)
    if fall < MEMORISING_FALL or features.valid_now - now < MEMORISING_FALL * features.scale:
        return None
    told = (
        f"validation loss about the same since {features.place(step)} ({length} evaluations), training loss {then:.3g} "
        f"then and {now:.3g} now"
    )
    said = f"memorisation has started at about step {step}: validation is flat, training loss fell by {fall:.0%}"
    fixes = features.against_overfitting()
    return features.verdict(CurveFinding.MEMORISING, said, told, fixes=fixes, since=step, numbers={"train_fall": fall})


def judge_still_learning_curve(features: CurveFeatures) -> CurveVerdict | None:
    before, values = features.curve.before, features.valid.values
    if before is None or features.best < len(features.valid) - 2:
        return None
    gained = 1 - values[-1] / max(values[-2], SCALE)
    if not features.ended and features.best == len(values) - 1 and gained > STILL_STEP:
        told = f"the last evaluation is the best one yet, by {gained:.0%}"
        said = f"still learning: validation loss {values[-1]:.3g} and falling"
        return features.verdict(
            CurveFinding.STILL_LEARNING, said, told, fixes=("let it go on",), numbers={"gain": gained}
        )
    first, second = features.gains_by_half(before)
    if second <= features.noise * features.scale / 2 or first <= 0:
        return None
    ratio = min(1.0, second / first)
    gain = second * ratio / max(features.valid_now, SCALE)
    if ratio < STILL_RATIO or gain < STILL_GAIN:
        return None
    told = (
        f"the second half of training brought {second:.3g} of validation loss, the first {first:.3g}: half as much "
        f"again would bring about {gain:.0%}"
    )
    said = f"still learning: validation loss {features.valid_now:.3g} and falling"
    fixes = ("more epochs", "a higher learning rate") if features.ended else ("let it go on",)
    said += "; it ended before it was done" if features.ended else ""
    return features.verdict(
        CurveFinding.STILL_LEARNING, said, told, fixes=fixes, numbers={"gain": gain, "ratio": ratio}
    )


def judge_hardly_begun_curve(features: CurveFeatures) -> CurveVerdict | None:
    then, now = features.train_at(features.valid.steps[0]), features.train_now
    if then is None or now is None or features.best < len(features.valid) - 2:
        return None
    fall = 1 - now / max(then, SCALE)
    valid_fall = 1 - features.valid_now / max(features.valid.values[0], SCALE)
    if abs(fall) > LITTLE_TRAIN or abs(valid_fall) > LITTLE:
        return None
    told = f"since the first evaluation training loss fell by {fall:.1%} and validation loss by {valid_fall:.1%}"
    said = f"still learning: hardly anything was learnt, validation loss is {features.valid_now:.3g}"
    fixes = (
        ("a higher learning rate", "more epochs") if features.ended else ("let it go on, or raise the learning rate",)
    )
    return features.verdict(CurveFinding.STILL_LEARNING, said, told, fixes=fixes, numbers={"train_fall": fall})


def judge_noisy_curve(features: CurveFeatures) -> CurveVerdict | None:
    _, rise = features.chance
    visible = math.expm1(rise)
    if visible <= BLIND:
        return None
    noise = f"evaluations differ by {features.noise:.0%} without a trend"
    why = f"{noise}, and a rise of under {visible:.0%} would not be seen"
    return features.unclear(why, needs="more validation rows, or more evaluations")


def judge_healthy_curve(features: CurveFeatures) -> CurveVerdict:
    low = features.valid.values[features.best]
    best = f"{low:.3g} at its best, {features.place(features.best_step)}"
    said = f"healthy: validation loss {best}, and {features.valid_now:.3g} now"
    return features.verdict(CurveFinding.HEALTHY, said, features.train_told)


RULES = (
    judge_unmeasured_curve,
    judge_diverged_curve,
    judge_overfitting_curve,
    judge_memorised_curve,
    judge_short_curve,
    judge_memorising_curve,
    judge_still_learning_curve,
    judge_noisy_curve,
    judge_hardly_begun_curve,
    judge_healthy_curve,
)
"""The rules in the order in which they are applied: the gravest first, and each relies on those before it having found
nothing."""
