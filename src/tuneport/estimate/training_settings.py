"""The nouns of a job's training on one backend: its settings, its optimizer steps, and what would make more of them.

`tuneport.estimate.settling` makes them.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from tuneport.types import Hyperparameters, Model, Quote

FEWEST_STEPS = 30
"""Below it a run ends about where it began: the warm-up alone takes several steps."""
FEWEST_SHARE = 3
"""Less than a third of the recommendation's steps is another training, not the same one with other batches."""

Chooser = Literal["user", "rule", "backend"]


class TrainingSteps(Model):
    """Optimizer steps that a job takes: `expected`, between `low` and `high` (packed examples may fit less well, and
    another vocabulary counts other tokens). None: `unavailable` says why.

    `meant`: those of the recommendation, without the backend's limits and without what the user set.
    """

    expected: int | None = None
    low: int | None = None
    high: int | None = None
    meant: int
    unavailable: str | None = None
    explanation: str = ""

    @property
    def too_few(self) -> bool:
        """Return whether that hardly trains: fewer than 30 steps, or less than a third of those meant."""
        return self.expected is not None and (self.expected < FEWEST_STEPS or self.expected * FEWEST_SHARE < self.meant)


class StepsRemedy(Model):
    """A change that makes more steps: hyperparameters (none: the job without `--provider-defaults`), and its price."""

    changes: dict[str, Any] = Field(default_factory=dict)
    steps: int
    quote: Quote | None = None

    @property
    def words(self) -> str:
        """Return what to add to the command."""
        if not self.changes:
            return "leave --provider-defaults out"
        return " ".join(f"--set {name}={str(value).lower()}" for name, value in self.changes.items())


class TrainingSettings(Model):
    """The settings that one job trains with on one backend, in tuneport's names.

    `hyperparameters` is what is sent: `auto` is left to the backend. `options`: options that the mapping itself sets.
    `epochs`: how often the data is read, also where the backend decides. `recommended`: the recommendation, in numbers.
    `because`: a line for each setting, also for what has no knob there. `names`: the backend's own words.
    """

    hyperparameters: Hyperparameters
    options: dict[str, Any] = Field(default_factory=dict)
    epochs: int
    recommended: Hyperparameters
    chosen_by: dict[str, Chooser] = Field(default_factory=dict)
    because: dict[str, str] = Field(default_factory=dict)
    names: dict[str, str] = Field(default_factory=dict)
    steps: TrainingSteps
    remedies: tuple[StepsRemedy, ...] = Field(default=(), description="cheapest first")

    @property
    def sent(self) -> dict[str, Any]:
        """Return the numbers that are sent, under the backend's own names."""
        return {self.names.get(name, name): value for name, value in self.hyperparameters.given().items()}

    def as_dict(self) -> dict[str, Any]:
        """Return what is sent, in our words and in the backend's, who chose it and why, and the remedies."""
        return {
            "hyperparameters": self.hyperparameters.given(),
            "sent": self.sent,
            "options": self.options,
            "chosen_by": self.chosen_by,
            "because": self.because,
            "remedies": [each.model_dump(mode="json") | {"words": each.words} for each in self.remedies],
        }
