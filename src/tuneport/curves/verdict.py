"""The verdict on a curve: the kinds of finding, with their evidence and numbers."""

from __future__ import annotations

from enum import StrEnum

from pydantic import Field

from tuneport.types import Model


class CurveFinding(StrEnum):
    HEALTHY = "healthy"
    STILL_LEARNING = "still_learning"
    OVERFITTING = "overfitting"
    MEMORISING = "memorising"
    MEMORISED = "memorised"
    DIVERGED = "diverged"
    FORGETTING = "forgetting"
    UNCLEAR = "unclear"

    @property
    def words(self) -> str:
        return _WORDS[self]


_WORDS = {
    CurveFinding.HEALTHY: "healthy",
    CurveFinding.STILL_LEARNING: "still learning",
    CurveFinding.OVERFITTING: "overfitting",
    CurveFinding.MEMORISING: "memorisation has started",
    CurveFinding.MEMORISED: "memorised",
    CurveFinding.DIVERGED: "diverged",
    CurveFinding.FORGETTING: "forgets what the base could do",
    CurveFinding.UNCLEAR: "no verdict",
}


class CurveForgetting(Model):
    """The loss of the tuned model against its base on general tasks: shares of the points, 0 to 1, with the interval of
    an evaluation. `tasks` names them, if it is not all of them together."""

    drop: float
    low: float
    high: float
    tasks: str = "general tasks"

    @property
    def shown(self) -> bool:
        return self.low > 0


class CurveVerdict(Model):
    """`summary` is one sentence; `evidence` its reasons, with the numbers that `numbers` holds by name; `fixes` what to
    do, the best first. Losses are as the backend measures them, mostly nats per trained token."""

    finding: CurveFinding
    summary: str
    since_step: int | None = Field(default=None, description="the step at which validation loss begins to rise")
    confidence: float | None = Field(default=None, description="confidence that the overfitting is not noise, 0 to 1")
    sure: bool = Field(default=False, description="overfitting, and sure enough to stop a job that costs money")
    best_step: int | None = Field(default=None, description="the step with the lowest validation loss")
    best_epoch: float | None = None
    best_loss: float | None = None
    last_step: int = 0
    evidence: tuple[str, ...] = ()
    fixes: tuple[str, ...] = ()
    numbers: dict[str, float] = Field(default_factory=dict)

    def __str__(self) -> str:
        return self.summary
