"""The features of a curve: measured once for all rules, and worded for people."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from statistics import median
from types import MappingProxyType

from tuneport.curves.series import FEWEST_EVALUATIONS, Curve, CurveSeries, nearest_step
from tuneport.curves.trends import (
    PRIOR_NOISE,
    PRIOR_NOISE_OF_BATCHES,
    TAIL,
    estimate_noise,
    lowest_loss_index,
    never_rises,
)
from tuneport.curves.verdict import CurveFinding, CurveVerdict

SCALE = 0.1
"""Nats. Losses are compared as log(loss + this): noise is a share of them, and of those far below it (answers of one
word, known well) no change matters."""
TRAIN_FALL = 0.05
"""Of the training loss, while validation rises; else both rise, and the run is unstable, not overfitted."""
MEMORISED_ACCURACY = 0.99
"""Of the training tokens; no text is that predictable from what it shares with others. 1 % is left for first words that
several rows share."""
MEMORISED_LOSS = 0.03
"""Nats per token, used if no accuracy is measured: a token's probability is then 97 %."""
KEEP_BEST = "early stopping: `--option early_stopping=2` on this machine, `--stop-on-overfit` anywhere"


@dataclass(frozen=True)
class CurveFeatures:
    """`valid` is what is judged; `logs` are its losses on the scale on which noise is the same everywhere; `best` is
    the index of the lowest."""

    curve: Curve
    ended: bool

    @cached_property
    def valid(self) -> CurveSeries:
        return self.curve.valid.in_stretches()

    @cached_property
    def logs(self) -> tuple[float, ...]:
        return tuple(map(shifted_log, self.valid.values))

    @cached_property
    def best(self) -> int:
        return lowest_loss_index(self.logs) if self.logs else 0

    @cached_property
    def noise(self) -> float:
        return estimate_noise(self.logs, PRIOR_NOISE_OF_BATCHES if self.curve.of_batches else PRIOR_NOISE)

    @cached_property
    def chance(self) -> tuple[float, float]:
        """Return the result of `never_rises` for this curve."""
        return never_rises(self.logs, self.noise)

    @property
    def best_step(self) -> int:
        return self.valid.steps[self.best]

    @property
    def scale(self) -> float:
        return max(self.valid.values[self.best], SCALE)

    @cached_property
    def valid_now(self) -> float:
        return median(self.valid.values[-max(1, min(TAIL, len(self.valid) // 3)) :])

    # --- training ---------------------------------------------------------------------------------------------------

    @cached_property
    def train_now(self) -> float | None:
        return self.curve.train.level(self.curve.last_step, self.curve.window())

    def train_at(self, step: int) -> float | None:
        return self.curve.train.level(step, self.curve.window())

    @cached_property
    def train_falls(self) -> bool:
        """Return whether the training loss has fallen since the best step. True also if it was not measured."""
        now, before = self.train_now, self.train_at(self.best_step)
        return now is None or before is None or now < MEMORISED_LOSS or before - now > TRAIN_FALL * before

    @property
    def train_told(self) -> str:
        now, before = self.train_now, self.train_at(self.best_step)
        if now is None or before is None:
            return "the training loss is not known"
        return f"training loss {before:.3g} at the best step, {now:.3g} now"

    @cached_property
    def memorised(self) -> str | None:
        """Return the evidence that the training rows are memorised, as text, or None."""
        accuracies = self.curve.train_accuracy
        if len(accuracies) >= FEWEST_EVALUATIONS:
            now = accuracies.level(self.curve.last_step, self.curve.window()) or 0.0
            return f"{now:.1%} of the training tokens are right" if now >= MEMORISED_ACCURACY else None
        enough = self.train_now is not None and len(self.curve.train) >= FEWEST_EVALUATIONS
        return f"training loss {self.train_now:.2g}" if enough and (self.train_now or 0.0) <= MEMORISED_LOSS else None

    # --- validation -------------------------------------------------------------------------------------------------

    @property
    def accuracy_now(self) -> float | None:
        series = self.curve.valid_accuracy
        return median(series.values[-TAIL:]) if len(series) else None

    @property
    def accuracy_gain(self) -> float | None:
        """Return how many more validation tokens are right now than at the lowest loss, as a share."""
        series, now = self.curve.valid_accuracy, self.accuracy_now
        at = nearest_step(series.steps, self.best_step)
        return None if at is None or now is None else now - series.values[series.steps.index(at)]

    def gains_by_half(self, before: float) -> tuple[float, float]:
        """Return what validation gained in the first and in the second half of training, by the sum of its rates.

        `before`: the training loss before training. Validation rows are assumed to have been as much harder then as
        they are at their first evaluation.
        """
        then = self.train_at(self.valid.steps[0])
        before = max(before, before + self.valid.values[0] - then) if then is not None else before
        times = [0.0, *(self.curve.learning_until(step) for step in self.valid.steps)]
        losses = [before, *self.valid.values]
        middle = times[-1] / 2
        for (begin, low), (end, high) in pairwise(zip(times, losses, strict=True)):
            if begin <= middle <= end and end > begin:
                share = (middle - begin) / (end - begin)
                at_middle = low ** (1 - share) * high**share
                return before - at_middle, at_middle - losses[-1]
        return before - losses[-1], 0.0

    # --- words ------------------------------------------------------------------------------------------------------

    def place(self, step: int) -> str:
        epoch = self.curve.epoch_of(step)
        return f"step {step}" if epoch is None else f"step {step} (epoch {epoch:.3g})"

    def against_overfitting(self) -> tuple[str, ...]:
        best: tuple[str, ...] = ()
        if len(self.valid):
            epoch = self.curve.epoch_of(self.best_step)
            fewer = "fewer epochs" if epoch is None else f"fewer epochs: about {max(1, round(epoch))}"
            best = (f"take the checkpoint of step {self.best_step}", fewer, KEEP_BEST)
        return (*best, "more data, or more varied", "lower the learning rate", "a smaller LoRA rank")

    def verdict(
        self,
        finding: CurveFinding,
        summary: str,
        *evidence: str,
        fixes: tuple[str, ...] = (),
        since: int | None = None,
        confidence: float | None = None,
        sure: bool = False,
        numbers: Mapping[str, float] = MappingProxyType({}),
    ) -> CurveVerdict:
        known = len(self.valid) > 0
        told = {"validation_loss": self.valid_now if known else None, "train_loss": self.train_now}
        return CurveVerdict(
            finding=finding,
            summary=summary,
            since_step=since,
            confidence=confidence,
            sure=sure,
            best_step=self.best_step if known else None,
            best_epoch=self.curve.epoch_of(self.best_step) if known else None,
            best_loss=self.valid.values[self.best] if known else None,
            last_step=self.curve.last_step,
            evidence=evidence,
            fixes=fixes,
            numbers={name: value for name, value in told.items() if value is not None} | dict(numbers),
        )

    def unclear(self, why: str, *, needs: str) -> CurveVerdict:
        return self.verdict(CurveFinding.UNCLEAR, f"no verdict: {why}", fixes=(needs,))


def shifted_log(loss: float) -> float:
    return math.log(max(loss, 0.0) + SCALE)
