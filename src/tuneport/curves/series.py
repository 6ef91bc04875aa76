"""A job's metric points as series that can be judged: each of one kind of measurement, in order of the steps."""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from statistics import median

from tuneport.types import MetricPoint

FEWEST_EVALUATIONS = 3
"""Fewer have no shape: a lowest one and what came after it are two already."""
MOST_EVALUATIONS = 60
"""Longer series are judged by the medians of so many stretches. The tests are quadratic in their number, and
neighbouring evaluations err alike, so that more of them say less than they seem to."""
DENSE = 0.5
"""If this share of training steps has a validation loss, each is the loss of a batch: no backend evaluates a whole file
that often."""
FIRST_STEPS = 3
"""Training steps whose median is taken for the loss before training: in them the rate still warms up."""


@dataclass(frozen=True)
class CurveSeries:
    """Values at steps that only grow; all are finite."""

    steps: tuple[int, ...] = ()
    values: tuple[float, ...] = ()

    def __len__(self) -> int:
        return len(self.steps)

    def between(self, after: float, until: float) -> tuple[float, ...]:
        """Return the values of steps above `after`, up to and including `until`."""
        return self.values[bisect_right(self.steps, after) : bisect_right(self.steps, until)]

    def up_to(self, step: int) -> CurveSeries:
        end = bisect_right(self.steps, step)
        return CurveSeries(self.steps[:end], self.values[:end])

    def level(self, until: float, width: float) -> float | None:
        """Return the median of the last `width` steps up to `until`, else the last value before them."""
        inside = self.between(until - width, until)
        if not inside:
            before = bisect_right(self.steps, until)
            return self.values[before - 1] if before else None
        return median(inside)

    def in_stretches(self, most: int = MOST_EVALUATIONS) -> CurveSeries:
        """Return at most `most` medians of equally many neighbours, each at the step of the last of them."""
        if len(self) <= most:
            return self
        size = math.ceil(len(self) / most)
        # From the end, so that the newest stretch is whole.
        ends = list(range(len(self), 0, -size))[::-1]
        parts = [(max(0, end - size), end) for end in ends]
        return CurveSeries(
            tuple(self.steps[end - 1] for _, end in parts),
            tuple(median(self.values[begin:end]) for begin, end in parts),
        )


@dataclass(frozen=True)
class Curve:
    """The measurements of a training run. `broken_at`: the first step whose training loss is no number.

    `valid` has the losses of the whole validation file, if there are enough such evaluations; OpenAI makes one an
    epoch. If it has those of a batch at each step, which are much noisier, `of_batches` is True. `full` and `batches`
    are each of the two alone, if there are both.
    """

    train: CurveSeries
    valid: CurveSeries
    train_accuracy: CurveSeries
    valid_accuracy: CurveSeries
    rate: CurveSeries
    epochs: CurveSeries
    full: CurveSeries = CurveSeries()
    batches: CurveSeries = CurveSeries()
    of_batches: bool = False
    broken_at: int | None = None
    by_reward: bool = False

    @property
    def last_step(self) -> int:
        return max((series.steps[-1] for series in (self.train, self.valid) if len(series)), default=0)

    @property
    def before(self) -> float | None:
        """Return the training loss of the first steps: about the loss before training, less if points lie far apart."""
        first = self.train.values[:FIRST_STEPS]
        return max(first[0], median(first)) if first else None

    @property
    def steps_per_epoch(self) -> float | None:
        at = [(step, epoch) for step, epoch in zip(self.epochs.steps, self.epochs.values, strict=True) if epoch > 0]
        return at[-1][0] / at[-1][1] if at else None

    def epoch_of(self, step: int) -> float | None:
        each = self.steps_per_epoch
        return None if each is None else step / each

    def learning_until(self, step: int) -> float:
        """Return the sum of the learning rates up to a step, or the number of steps if no rates were measured."""
        if len(self.rate) < 2:
            return float(step)
        total, before = 0.0, 0
        for at, rate in zip(self.rate.steps, self.rate.values, strict=True):
            if at > step:
                break
            total, before = total + rate * (at - before), at
        return total

    def window(self) -> float:
        """Return the number of steps over which a training loss is averaged: the distance between two evaluations, or
        an epoch if that is longer, since only then are the rows the same."""
        gaps = [after - before for before, after in zip(self.valid.steps, self.valid.steps[1:], strict=False)]
        gap = median(gaps) if gaps else max(1.0, self.last_step / 10)
        return max(gap, self.steps_per_epoch or 0.0)

    def by_batches(self) -> Curve:
        return replace(self, valid=self.batches, batches=CurveSeries(), of_batches=True)


def build_curve(points: Iterable[MetricPoint]) -> Curve:
    """Build the curve from points in any order, of any backend.

    If a step was measured twice (a run was resumed from a checkpoint), the later point in the list counts.
    """
    by_step: dict[int, MetricPoint] = {}
    for point in points:
        before = by_step.get(point.step)
        by_step[point.step] = point if before is None else _merged(before, point)
    ordered = [by_step[step] for step in sorted(by_step)]
    broken = next((point.step for point in ordered if point.train_loss is not None and _odd(point.train_loss)), None)
    full, each = _series(ordered, _full_loss), _series(ordered, _any_loss)
    enough = len(full) >= FEWEST_EVALUATIONS
    train = _series(ordered, lambda point: point.train_loss)
    of_batches = not enough and (len(full) > 0 or len(each) > DENSE * max(1, len(train)))
    return Curve(
        train=train,
        valid=full if enough else each,
        full=full,
        batches=each if enough else CurveSeries(),
        of_batches=of_batches,
        train_accuracy=_series(ordered, lambda point: point.train_accuracy),
        valid_accuracy=_series(ordered, lambda point: point.valid_accuracy),
        rate=_series(ordered, lambda point: point.learning_rate),
        epochs=_series(ordered, lambda point: point.epoch),
        broken_at=broken,
        by_reward=any("reward" in point.extra or "valid_reward" in point.extra for point in ordered),
    )


def _merged(before: MetricPoint, after: MetricPoint) -> MetricPoint:
    said = after.model_dump(exclude_none=True)
    return before.model_copy(update=said | {"extra": before.extra | after.extra})


def _series(points: Sequence[MetricPoint], value: Callable[[MetricPoint], float | None]) -> CurveSeries:
    found = [(point.step, number) for point in points if (number := value(point)) is not None and not _odd(number)]
    return CurveSeries(tuple(step for step, _ in found), tuple(number for _, number in found))


def _full_loss(point: MetricPoint) -> float | None:
    """Return OpenAI's loss over the whole validation file, which `backends` puts into `valid_loss` beside that of the
    batch."""
    if "full_valid_loss" in point.extra:
        return point.extra["full_valid_loss"]
    return point.valid_loss if "valid_loss" in point.extra else None


def _any_loss(point: MetricPoint) -> float | None:
    return point.extra.get("valid_loss", point.valid_loss)


def _odd(value: float) -> bool:
    return not math.isfinite(value)


def nearest_step(steps: Sequence[int], step: int) -> int | None:
    """Return the step nearest to `step`, the earlier of two. Takes ordered steps; returns None if there are none."""
    if not steps:
        return None
    at = bisect_left(steps, step)
    return min(steps[max(0, at - 1) : at + 1], key=lambda known: (abs(known - step), known))
