"""Estimate and actual of a job: what was expected at submit and what it came to, two documents that its row keeps side
by side.

The estimate holds the terms too (price, minimum, who pays for a job that fails), so that the cost of a job is computed
by those of its own day, even if the manifest changes.
"""

from __future__ import annotations

from datetime import date
from typing import Literal

from tuneport.estimate.training_settings import TrainingSettings, TrainingSteps
from tuneport.types import Model

NEARLY_ALL = 0.99
"""Share of the steps that counts as all: the last ones of a job may not be reported, and make no difference."""


class JobEstimate(Model):
    """Seconds of training (None: `seconds_unavailable` says why), and how the job is billed.

    `uncorrected_seconds` is the estimate without the correction by this machine's own runs: later runs are compared
    with it. `training` is what it trains with there, and its steps. `tokens` are those of all epochs. `device` names
    the device if it is the user's own machine, and `usd_per_hour` is its hourly cost, if stated.
    """

    seconds: float | None = None
    seconds_low: float | None = None
    seconds_high: float | None = None
    seconds_unavailable: str | None = None
    seconds_because: str = ""
    uncorrected_seconds: float | None = None
    training: TrainingSettings | None = None
    epochs: int | None = None
    tokens: int | None = None
    params_b: float | None = None
    adapter: str | None = None
    device: str | None = None
    billing: Literal["tokens", "machine_hours"] | None = None
    usd_per_mtok: float | None = None
    minimum_usd: float | None = None
    price_source: str | None = None
    price_as_of: date | None = None
    failed_pays: Literal["nothing", "unknown"] = "unknown"
    cancelled_pays: Literal["steps_done", "unknown"] = "unknown"
    usd_per_hour: float | None = None

    @property
    def steps(self) -> TrainingSteps | None:
        """Return the expected optimizer steps, or None for a job of a version that did not count them."""
        return None if self.training is None else self.training.steps

    @property
    def own_machine(self) -> bool:
        """Return whether it is billed by the hour, as a user's own machine is; see `Manifest.compared_own_machine`."""
        return self.billing == "machine_hours"


class JobActual(Model):
    """Cost and training time of a job that has ended; if unknown, why.

    `authority`: `billed` by the provider; `computed` from its own count and the price; `local` for the user's own
    machine. `interrupted`: it was paused or began again, so that its seconds tell nothing of the machine's speed.
    `share_done`: the share of its steps that it did, 0 to 1, if known; less than 1 if it stopped early.
    """

    usd: float | None = None
    usd_unavailable: str | None = None
    usd_because: str = ""
    authority: Literal["billed", "computed", "local"] | None = None
    seconds: float | None = None
    seconds_unavailable: str | None = None
    seconds_because: str = ""
    tokens: int | None = None
    interrupted: bool = False
    share_done: float | None = None

    @property
    def cut_short(self) -> bool:
        """Return whether it did fewer steps than were planned, so that its time and cost are not comparable with the
        estimate."""
        return self.share_done is not None and self.share_done < NEARLY_ALL
