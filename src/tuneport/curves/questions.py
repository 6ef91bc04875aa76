"""What is asked of a curve. Each question answers with a verdict, or None where the next one is to be asked."""

from __future__ import annotations

import math
from statistics import median

from tuneport.curves.look import KNOWN_BY_HEART, SCALE, Look, log_of
from tuneport.curves.series import FEWEST_EVALUATIONS, FIRST_STEPS
from tuneport.curves.trends import (
    TAIL,
    falling_fit,
    mann_kendall,
    rise_after_lowest,
    roughness,
    theil_sen,
)
from tuneport.curves.verdict import CurveVerdict, Finding

RISE = 0.05
"""Of the lowest validation loss: by so much it must have risen to matter. Half of it is what full evaluations of a
plateau show by themselves."""
SAID, SURE = 0.90, 0.99
"""How sure overfitting must be to be said, and to stop a job. The second is stricter than a test needs once, because a
live curve is asked after each evaluation, some thirty times."""
PERHAPS = 0.50
"""From here on a rise is reason enough not to call a curve healthy."""
AFTER_BEST, BATCHES_AFTER_BEST = 3, 10
"""Evaluations behind the best one without which no job is stopped, whatever the test says: two are what a patience of 2
waits for, and that ends one's own run, not one that somebody pays for. The second: where each is of some rows only."""
TREND, LASTING = 0.05, 2
"""Of the Mann-Kendall test from the best evaluation on: what has risen by one jump may come down again, and is no
reason to stop yet. It is one when it has stayed up for so many times the evaluations that are needed at least."""
ACCURACY_GAIN = 0.05
"""With so many more tokens right than at the lowest loss, probabilities are worse and answers better: no reason to
stop. Fewer are a handful of tokens of a small validation file: one of a dozen rows gained 2 % while its loss, and that
of 40 other rows, rose by a fifth."""
LEARNT_TOO = 0.97
"""Validation accuracy from which knowing the training rows is no fault: the task is that easy."""
ACCURACY_APART = 0.05
"""Between the accuracies of training and validation: less apart, nothing was learnt by heart that is not understood."""
FLAT = 0.03
"""Of the lowest validation loss: what lies within it is as good, see PRIOR_NOISE."""
MEMORISING_FALL = 0.25
"""Of the training loss, while validation stays flat; a healthy last epoch, whose rate goes to zero, has less."""
PLATEAU = 3
"""Evaluations, or a third of all, that have to be flat."""
FEWEST_STEPS = 6
"""Training losses without which nothing is called diverged: the first of them may be of odd rows."""
DIVERGED_ABOVE_START = 1.2
DIVERGED_LOST = 0.5
"""Of what was learnt: a run that ends after having lost it went wrong, spikes that recover did not."""
NOISE_OF_DIVERGED = 4.0
STILL_GAIN = 0.02
"""Of the validation loss: what half as much training again would bring at least, if it goes on to slow down as it
did."""
STILL_STEP = 0.05
"""Of the validation loss, from one evaluation of a running job to the next."""
STILL_RATIO = 0.4
"""Of the gain of the first half of training, what the second half brought: a curve that flattens has much less."""
LITTLE, LITTLE_TRAIN = 0.02, 0.05
"""Of the losses, from the first evaluation to the last: a run that moved both by less has hardly begun, or its rate is
too low. The second: its batches are not the same ones."""
BLIND = 0.25
"""Of the loss: where only a greater rise than this would be noticed (19 times of 20), nothing can be said."""


def judged_by_loss(look: Look) -> CurveVerdict | None:
    if look.curve.by_reward:
        needs = "look at reward and valid_reward in `tuneport metrics`"
        return look.unclear("the run is judged by rewards, not by a loss", needs=needs)
    if not len(look.curve.train) and not len(look.valid):
        return look.unclear("nothing has been measured yet", needs="it needs training and validation losses")
    return None


def diverged(look: Look) -> CurveVerdict | None:
    curve, before = look.curve, look.curve.before
    fixes = (
        "lower the learning rate (a tenth is a good first try)",
        "a longer warm-up",
        "look for broken rows: `tuneport check`",
    )
    if curve.broken_at is not None:
        said = f"it diverged: the training loss at step {curve.broken_at} is no number"
        return look.verdict(Finding.DIVERGED, said, fixes=fixes, since=curve.broken_at)
    if before is None or len(curve.train) < FEWEST_STEPS:
        return None
    parts = curve.train.in_stretches(20)
    low = min(range(len(parts)), key=parts.values.__getitem__)
    lowest, since = parts.values[low], parts.steps[low]
    first = min(curve.train.values[:FIRST_STEPS])  # where a rate wrecks the model at once, only the first one is sane
    if first < lowest:
        lowest, since = first, curve.train.steps[curve.train.values.index(first)]
    now = median(parts.values[-2:]) if len(parts) >= 10 else parts.values[-1]
    noise = NOISE_OF_DIVERGED * roughness([log_of(loss) for loss in curve.train.in_stretches(200).values])
    above_start = now > first * DIVERGED_ABOVE_START
    lost = now - lowest > max(DIVERGED_LOST * (before - lowest), RISE * before)
    if not (above_start or lost) or log_of(now) - log_of(lowest) < noise:
        return None
    told = f"training loss {before:.3g} at first, {lowest:.3g} at its lowest (step {since}), {now:.3g} now"
    said = f"it diverged after step {since}: {told}"
    return look.verdict(Finding.DIVERGED, said, told, fixes=fixes, since=since, numbers={"train_loss_lowest": lowest})


def overfitting(look: Look) -> CurveVerdict | None:
    values, steps, best = look.valid.values, look.valid.steps, look.best
    rise = math.expm1(rise_after_lowest(look.logs))
    if len(values) < FEWEST_EVALUATIONS or rise < RISE:
        return None
    chance, _ = look.chance
    confidence = 1.0 - chance
    if confidence < (PERHAPS if look.train_falls else SAID):
        return None
    after, step = len(values) - 1 - best, look.best_step
    tail = values[best + 1 :][-max(TAIL, len(values) // 6) :]
    told = (
        f"validation loss {values[best]:.3g} at {look.place(step)}, {median(tail):.3g} by the last {len(tail)} of the "
        f"{after} evaluations after it: {rise:+.0%}, which noise alone does with p = {chance:.2g}"
    )
    if not look.train_falls:
        said = f"it is unstable: validation loss rises since step {step}, and the training loss does not fall"
        fixes = ("lower the learning rate", "a larger batch", "a longer warm-up")
        return look.verdict(
            Finding.DIVERGED, said, told, look.train_told, fixes=fixes, since=step, numbers={"rise": rise}
        )
    trend, slope = mann_kendall(values[best:]), theil_sen(steps[best:], values[best:])
    trends = f"its trend since then: {slope * 100:+.2g} in 100 steps (Theil-Sen), p = {trend:.2g} (Mann-Kendall)"
    evidence = [told, look.train_told, trends]
    gain = look.accuracy_gain
    better = gain is not None and gain > ACCURACY_GAIN
    if better:
        evidence.append(f"yet {gain:+.1%} validation tokens are right: answers may be no worse than at step {step}")
    if look.known_by_heart is not None:
        evidence.append(look.known_by_heart)
    numbers = {"rise": rise, "noise": look.noise, "trend_p": trend, "slope_per_step": slope, "after_best": after}
    if confidence < SAID:
        said = f"cannot be said: validation loss is {rise:.0%} above its lowest, which may be noise (p = {chance:.2g})"
        fixes = ("more validation rows", "evaluate more often", "keep the best epoch: `--option early_stopping=2`")
        return look.verdict(Finding.UNCLEAR, said, *evidence, fixes=fixes, confidence=confidence, numbers=numbers)
    whole = look.curve.full.values if look.curve.of_batches else ()  # where noise is great, they must not say no
    agreed = not whole or whole[-1] > min(whole)
    enough = BATCHES_AFTER_BEST if look.curve.of_batches else AFTER_BEST
    return look.verdict(
        Finding.OVERFITTING,
        f"overfitting since {look.place(step)}: validation loss {rise:+.0%} since then ({confidence:.1%} sure)",
        *evidence,
        fixes=look.against_overfitting(),
        since=step,
        confidence=confidence,
        sure=confidence >= SURE and agreed and not better and after >= (enough if trend <= TREND else LASTING * enough),
        numbers=numbers,
    )


def memorised(look: Look) -> CurveVerdict | None:
    by_heart, accuracy = look.known_by_heart, look.accuracy_now
    if by_heart is None:
        return None
    known = "memorised: the training rows are known by heart"
    if not len(look.valid):
        said = f"{known}, and no validation file says whether more was learnt"
        fixes = ("give a validation file", *look.against_overfitting())
        return look.verdict(Finding.MEMORISED, said, by_heart, fixes=fixes)
    if accuracy is not None and accuracy >= min(LEARNT_TOO, KNOWN_BY_HEART - ACCURACY_APART):
        return None
    if len(look.valid) < FEWEST_EVALUATIONS or look.train_now is None or look.valid_now - look.train_now < SCALE:
        return None
    right = "" if accuracy is None else f", {accuracy:.1%} of its tokens right"
    told = f"validation loss {look.valid_now:.3g}{right}"
    said = f"{known}, the validation rows are not (loss {look.valid_now:.3g})"
    return look.verdict(Finding.MEMORISED, said, by_heart, told, fixes=look.against_overfitting())


def too_few(look: Look) -> CurveVerdict | None:
    count = len(look.valid)
    if count >= FEWEST_EVALUATIONS:
        return None
    least = f"at least {FEWEST_EVALUATIONS} evaluations are needed"
    if count == 0:
        return look.unclear("there is no validation loss", needs=f"give a validation file; {least}")
    are = "evaluations are" if count > 1 else "evaluation is"
    within = "more epochs, or `--option evaluate_every=N` on this machine"
    return look.unclear(f"{count} {are} too few", needs=f"{least}: {within}")


def memorising(look: Look) -> CurveVerdict | None:
    fitted = falling_fit(look.logs)
    first = next(index for index, value in enumerate(fitted) if value <= fitted[-1] + FLAT)
    length, step = len(fitted) - first, look.valid.steps[first]
    then, now = look.train_at(step), look.train_now
    if length < max(PLATEAU, len(fitted) / 3) or now is None or then is None or then <= 0:
        return None
    fall = (then - now) / max(then, SCALE)
    if fall < MEMORISING_FALL or look.valid_now - now < MEMORISING_FALL * look.scale:
        return None
    told = (
        f"validation loss about the same since {look.place(step)} ({length} evaluations), training loss {then:.3g} "
        f"then and {now:.3g} now"
    )
    said = f"memorisation has started at about step {step}: validation is flat, training loss fell by {fall:.0%}"
    fixes = look.against_overfitting()
    return look.verdict(Finding.MEMORISING, said, told, fixes=fixes, since=step, numbers={"train_fall": fall})


def still_learning(look: Look) -> CurveVerdict | None:
    before, values = look.curve.before, look.valid.values
    if before is None or look.best < len(look.valid) - 2:
        return None
    gained = 1 - values[-1] / max(values[-2], SCALE)
    if not look.ended and look.best == len(values) - 1 and gained > STILL_STEP:
        told = f"the last evaluation is the best one yet, by {gained:.0%}"
        said = f"still learning: validation loss {values[-1]:.3g} and falling"
        return look.verdict(Finding.STILL_LEARNING, said, told, fixes=("let it go on",), numbers={"gain": gained})
    first, second = look.gains_by_half(before)
    if second <= look.noise * look.scale / 2 or first <= 0:
        return None
    ratio = min(1.0, second / first)
    gain = second * ratio / max(look.valid_now, SCALE)
    if ratio < STILL_RATIO or gain < STILL_GAIN:
        return None
    told = (
        f"the second half of training brought {second:.3g} of validation loss, the first {first:.3g}: half as much "
        f"again would bring about {gain:.0%}"
    )
    said = f"still learning: validation loss {look.valid_now:.3g} and falling"
    fixes = ("more epochs", "a higher learning rate") if look.ended else ("let it go on",)
    said += "; it ended before it was done" if look.ended else ""
    return look.verdict(Finding.STILL_LEARNING, said, told, fixes=fixes, numbers={"gain": gain, "ratio": ratio})


def hardly_begun(look: Look) -> CurveVerdict | None:
    then, now = look.train_at(look.valid.steps[0]), look.train_now
    if then is None or now is None or look.best < len(look.valid) - 2:
        return None
    fall = 1 - now / max(then, SCALE)
    valid_fall = 1 - look.valid_now / max(look.valid.values[0], SCALE)
    if abs(fall) > LITTLE_TRAIN or abs(valid_fall) > LITTLE:
        return None
    told = f"since the first evaluation training loss fell by {fall:.1%} and validation loss by {valid_fall:.1%}"
    said = f"still learning: hardly anything was learnt, validation loss is {look.valid_now:.3g}"
    fixes = ("a higher learning rate", "more epochs") if look.ended else ("let it go on, or raise the learning rate",)
    return look.verdict(Finding.STILL_LEARNING, said, told, fixes=fixes, numbers={"train_fall": fall})


def too_noisy(look: Look) -> CurveVerdict | None:
    _, rise = look.chance
    visible = math.expm1(rise)
    if visible <= BLIND:
        return None
    why = f"evaluations differ by {look.noise:.0%} without a trend, and a rise of under {visible:.0%} would not be seen"
    return look.unclear(why, needs="more validation rows, or more evaluations")


def healthy(look: Look) -> CurveVerdict:
    low = look.valid.values[look.best]
    said = f"healthy: validation loss {low:.3g} at its best, {look.place(look.best_step)}, and {look.valid_now:.3g} now"
    return look.verdict(Finding.HEALTHY, said, look.train_told)


QUESTIONS = (
    judged_by_loss,
    diverged,
    overfitting,
    memorised,
    too_few,
    memorising,
    still_learning,
    too_noisy,
    hardly_begun,
    healthy,
)
"""In the order in which they are asked: the gravest first, and each knows that those before it found nothing."""
