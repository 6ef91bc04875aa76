"""Watches the size of the gradient: it tells that a run has broken, or is about to."""

from __future__ import annotations

import math
from collections import deque
from statistics import median

from tuneport.errors import TrainingError

EXPLODING = 100.0
"""Times the running median. Single batches reach ten; a run that is lost goes through a thousand in a few steps."""
STEPS_IN_A_ROW = 3
STEPS_FOR_MEDIAN = 10
REMEMBERED_STEPS = 100
OVERFLOWS_OF_SCALING = 25
"""With fp16 the loss is scaled from 2^16 downwards until no gradient overflows: a new run's first steps may."""


class LossNotFiniteError(TrainingError):
    """The loss became NaN or infinite."""


class GradientNotFiniteError(TrainingError):
    """The gradient became NaN or infinite."""


class GradientWatch:
    """Fed with the gradient norm of each step, before clipping. `scaled`: the loss is scaled, as with fp16."""

    def __init__(self, learning_rate: float, *, scaled: bool) -> None:
        self.learning_rate = learning_rate
        self.overflows_allowed = OVERFLOWS_OF_SCALING if scaled else 0
        self._norms: deque[float] = deque(maxlen=REMEMBERED_STEPS)
        self._overflows = self._large = 0
        self._warned = False

    def check_gradient(self, step: int, norm: float) -> str | None:
        """Return a warning, once in a run, or None. Raises GradientNotFiniteError if training cannot continue."""
        if not math.isfinite(norm):
            self._overflows += 1
            if self._overflows > self.overflows_allowed:
                raise GradientNotFiniteError(
                    f"the gradient became {norm} at step {step}; lower the learning rate (now {self.learning_rate:g}), "
                    "or use the precision bf16 or fp32"
                )
            return None
        self._overflows = 0
        usual = median(self._norms) if len(self._norms) >= STEPS_FOR_MEDIAN else None
        if usual is None or norm <= EXPLODING * usual:
            self._large = 0
            self._norms.append(norm)
            return None
        self._large += 1  # and out of the median, which would get used to it
        if self._large < STEPS_IN_A_ROW or self._warned:
            return None
        self._warned = True
        return (
            f"The gradient is exploding: its norm was {norm:.3g} at step {step}, for {STEPS_IN_A_ROW} steps more than "
            f"{EXPLODING:g} times the usual {usual:.3g}; lower the learning rate (now {self.learning_rate:g}) if the "
            "loss rises"
        )
