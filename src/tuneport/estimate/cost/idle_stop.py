"""A machine that stops when it is idle: which share of the month it is up, and what that costs. Pure.

Requests that come evenly and independently of each other leave gaps of an exponential length. The machine is up during
a gap until it ends or until the idle time is over, so it is up for the share

    1 - exp(-requests an hour x idle hours)

of the time. Requests that come together leave it more idle, down to all of them in the 40 working hours of a week.
"""

from __future__ import annotations

from math import exp

from tuneport.estimate.cost.inference import InferenceQuote
from tuneport.estimate.cost.traffic import HOURS_PER_MONTH, MonthlyCost, Traffic
from tuneport.formatting import money

WORKING_SHARE = 40 / 168
MOST_UPTIME = 0.9
"""Above this share of the month stopping saves too little for the requests that must wait until it is up again."""


def uptime_share(traffic: Traffic, idle_hours: float, *, spread: float = 1.0) -> float:
    """Return the share of the month in which the machine is up. `spread`: the share of all hours that requests use."""
    hourly = traffic.request_count / (HOURS_PER_MONTH * spread)
    return spread * (1 - exp(-hourly * idle_hours))


def quote_stopped_when_idle(always_up: InferenceQuote, traffic: Traffic) -> InferenceQuote | None:
    """Return the same machine's month if it stops when idle, or None if it cannot, or if that saves next to nothing."""
    parts, highest = always_up.parts, always_up.parts_high
    minutes = always_up.idle_stop_minutes
    if minutes is None or parts is None or highest is None or parts.machines() != 1 or not traffic.request_count:
        return None
    working = parts.load or 0.0  # it is up at least while it computes
    share = max(working, uptime_share(traffic, minutes / 60))
    least = max(working, uptime_share(traffic, minutes / 60, spread=WORKING_SHARE))
    if share > MOST_UPTIME:
        return None
    expected, low = MonthlyCost(growing=parts.machine * share), MonthlyCost(growing=parts.machine * least)
    high = MonthlyCost(growing=highest.machine * share)
    return always_up.model_copy(
        update={
            "expected": expected.at(),
            "low": low.at(),
            "high": high.at(),
            "parts": expected,
            "parts_low": low,
            "parts_high": high,
            "stops_when_idle": True,
            "serving": always_up.serving.replace("always up", "stopped when idle"),
            "explanation": (
                f"up {share:.0%} of the month, for it stops after {minutes:g} minutes without a request, and the first "
                f"request after that waits until it is up again; requests evenly spread over the month (all within 40 "
                f"hours a week: {money(low.at())}; always up: {money(parts.machine)})"
            ),
        }
    )
