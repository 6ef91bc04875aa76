"""What was expected of a job when it was submitted, and what it came to: two documents that its row keeps side by side.

The estimate holds the terms too (price, minimum, who pays for a job that fails), so that what a job cost is reckoned by
those of its own day, whatever has become of the manifest.
"""

from __future__ import annotations

from datetime import date
from typing import Literal

from tuneport.types import Model

NEARLY_ALL = 0.99
"""Of the steps: the last ones of a job may not be told, and make no difference."""


class JobEstimate(Model):
    """Seconds of training (None: `seconds_unavailable` says why), and by what the job is billed.

    `uncorrected_seconds` is the estimate before this machine's own runs had their say: what later ones are compared
    with. `tokens` are those of all epochs. `device` names what trains where that is one's own machine, and
    `usd_per_hour` is what an hour of it costs, where somebody said so.
    """

    seconds: float | None = None
    seconds_low: float | None = None
    seconds_high: float | None = None
    seconds_unavailable: str | None = None
    seconds_because: str = ""
    uncorrected_seconds: float | None = None
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


class Actual(Model):
    """What a job that has ended cost and how long it trained; where unknown, why.

    `authority`: `billed` by the provider; `computed` from its own count and the price; `local` for one's own machine.
    `interrupted`: it was paused or began again, so that its seconds tell nothing of the machine's speed. `share_done`:
    of its steps, 0 to 1, where they are told: less of one that stopped early.
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
        """It did fewer steps than were planned, so that its time and cost are not those that were estimated."""
        return self.share_done is not None and self.share_done < NEARLY_ALL
