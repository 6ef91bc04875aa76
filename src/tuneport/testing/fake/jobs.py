"""The fake provider's jobs: their record, their progress and their faults."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, Literal

from pydantic import Field

from tuneport.types import JobEvent, MetricPoint, Model, TuneSpec

STAGES = (
    ("checking", 0),
    ("waiting", 0),
    ("training", 2),
    ("training", 4),
    ("training", 6),
    ("packing", 6),
    ("done", 6),
)
"""The provider's own word, and how many of the `STEPS` steps are done, at each fetch after the submit."""
STEPS = 6
STEPS_PER_EPOCH = 2


class ArmedFault(Model):
    """A fault to come: at the next `times` calls of the method `on`.

    lost_reply: the call is carried out, its answer is lost (UnavailableError). unavailable, rate_limited, no_quota,
    rejected: the call is not carried out. unlisted (on find): an existing job is not found. fail_job, unknown_status
    (on submit): the job will fail at its end; the job will show an unknown status while it trains.
    """

    on: str
    kind: Literal[
        "lost_reply",
        "unavailable",
        "rate_limited",
        "no_quota",
        "rejected",
        "unlisted",
        "fail_job",
        "unknown_status",
    ]
    times: int = Field(default=1, ge=1)


class FakeJob(Model):
    """The record of a job in the folder."""

    id: str
    token: str
    spec: TuneSpec
    training_file: str
    created_at: datetime
    stage: int = 0
    paused: bool = False
    cancelled: bool = False
    fails: bool = False
    training_word: str = "training"

    @property
    def raw_status(self) -> str:
        if self.cancelled:
            return "stopped"
        word, _ = STAGES[self.stage]
        if word == "done":
            return "broken" if self.fails else "done"
        return "on hold" if self.paused else self.training_word if word == "training" else word

    @property
    def steps(self) -> int:
        return STAGES[self.stage][1]

    @property
    def ended(self) -> bool:
        return self.cancelled or self.stage == len(STAGES) - 1

    @property
    def tuned_model(self) -> str | None:
        if not self.ended or self.cancelled or self.fails:
            return None
        return f"fake:{self.spec.model}:{self.spec.suffix or ''}:{self.id}"

    @property
    def metrics(self) -> list[MetricPoint]:
        """Invent metrics: the loss falls by three tenths a step."""
        return [
            MetricPoint(step=step, epoch=step / STEPS_PER_EPOCH, train_loss=round(2.0 * 0.7**step, 6))
            for step in range(1, self.steps + 1)
        ]

    @property
    def events(self) -> list[JobEvent]:
        """Return all events so far, oldest first; their times follow from their order."""
        told: list[tuple[str, str, dict[str, Any]]] = [("info", f"Created job {self.id}", {})]
        if self.stage >= 1:
            told.append(("info", "Files checked, waiting for a machine", {}))
        for point in self.metrics:
            told.append(("info", f"Step {point.step}/{STEPS}: loss {point.train_loss}", point.model_dump()))
        if self.cancelled:
            told.append(("warning", "Job stopped", {}))
        elif self.ended:
            told.append(("error", "The machine broke", {}) if self.fails else ("info", "Job done", {}))
        return [
            JobEvent(
                id=f"{self.id}-{index}",
                created_at=self.created_at + timedelta(seconds=index),
                level=level,  # type: ignore[arg-type]
                message=message,
                type="metrics" if data else "message",
                data=data,
            )
            for index, (level, message, data) in enumerate(told)
        ]
