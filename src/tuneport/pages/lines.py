"""Line charts: inline SVG whose text keeps its size at any width of the page, with a legend and numbered marks below.

Places across are in per cent and places down in pixels, so that only the lines themselves are stretched.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import ceil, floor, log10
from typing import TYPE_CHECKING

from tuneport.pages.templates import render_template

if TYPE_CHECKING:
    from markupsafe import Markup

STYLES = 6
"""Colours and dashes that the frame's style has; more lines than these could not be told apart."""
_ACROSS = 1000
_TOP, _PLOT, _FOOT = 18, 240, 24
_MOST_TICKS = 5
_SHORT = 5


@dataclass(frozen=True)
class ChartAxis:
    """An axis from `low` to `high`; `words` writes a number of it. A logarithmic one begins above 0. `at`: its
    ticks."""

    low: float
    high: float
    words: Callable[[float], str]
    logarithmic: bool = False
    at: Sequence[float] = ()

    def position_of(self, value: float) -> float:
        """Return a value's position: 0 at the low end, 1 at the high end, and beyond them outside."""
        if not self.logarithmic:
            return (value - self.low) / (self.high - self.low)
        if value <= 0:
            return -1.0
        return log10(value / self.low) / log10(self.high / self.low)

    def ticks(self) -> list[float]:
        """Return the given ticks, else at most five round numbers."""
        if self.at:
            return [tick for tick in self.at if 0 <= self.position_of(tick) <= 1]
        if self.logarithmic:
            first, last = ceil(log10(self.low) - 1e-9), floor(log10(self.high) + 1e-9)
            if last - first >= 1:
                every = max(1, ceil((last - first + 1) / _MOST_TICKS))
                return [10.0**power for power in range(first, last + 1, every)]
        step = _round_step((self.high - self.low) / (_MOST_TICKS - 1))
        first, last = ceil(self.low / step - 1e-9), floor(self.high / step + 1e-9)
        return [number * step for number in range(first, last + 1)]


@dataclass(frozen=True)
class ChartLine:
    """Points from left to right, straight between them. `band` are (x, low, high) around it; `note` explains it."""

    name: str
    points: Sequence[tuple[float, float]]
    band: Sequence[tuple[float, float, float]] = ()
    note: str = ""


@dataclass(frozen=True)
class ChartMark:
    """A point that the list below the chart explains."""

    x: float
    y: float
    words: str


def draw_line_chart(
    drawn: Sequence[ChartLine],
    x: ChartAxis,
    y: ChartAxis,
    *,
    label: str,
    marks: Sequence[ChartMark] = (),
    here: tuple[float, str] | None = None,
) -> Markup:
    """Return the chart: at most `STYLES` lines. `here` is an upright line with its words: where the reader is. The ends
    of linear axes are written down for scripts, which read values off the lines."""
    shown = [mark for mark in marks if 0 <= x.position_of(mark.x) <= 1 and 0 <= y.position_of(mark.y) <= 1]
    lifts = _lifts([x.position_of(mark.x) for mark in shown])
    at = None if here is None else x.position_of(here[0])
    return render_template(
        "pages/lines.html",
        drawn=[
            {
                "name": line.name,
                "note": line.note,
                "points": [_point(x, y, *each) for each in line.points],
                "band": [_point(x, y, across, high) for across, _, high in line.band]
                + [_point(x, y, across, low) for across, low, _ in reversed(line.band)],
            }
            for line in drawn[:STYLES]
        ],
        across=_ACROSS,
        top=_TOP,
        plot=_PLOT,
        foot=_FOOT,
        # The style keeps room for the words left of the plot.
        wide=any(len(y.words(tick)) > _SHORT for tick in y.ticks()),
        ends=None if x.logarithmic or y.logarithmic else (f"{x.low:g} {x.high:g}", f"{y.low:g} {y.high:g}"),
        label=label,
        x_ticks=[(100 * x.position_of(tick), _anchor(x.position_of(tick), 0.05), x.words(tick)) for tick in x.ticks()],
        y_ticks=[(_down(y.position_of(tick)), y.words(tick)) for tick in y.ticks()],
        here=None if here is None or at is None or not 0 <= at <= 1 else (100 * at, _anchor(at, 0.4), here[1]),
        marks=[
            (100 * x.position_of(mark.x), _down(y.position_of(mark.y)), lift, mark.words)
            for mark, lift in zip(shown, lifts, strict=True)
        ],
    )


def _lifts(places: Sequence[float]) -> list[int]:
    """Return how far above its point each number stands: neighbours that would touch stand below, higher and lower in
    turn."""
    lifts: list[int] = []
    for number, place in enumerate(places):
        taken = {lifts[other] for other in range(number) if abs(places[other] - place) < 0.05}
        lifts.append(next((lift for lift in (-8, 18, -22, 32) if lift not in taken), -36))
    return lifts


def _anchor(place: float, edge: float) -> str:
    return "start" if place < edge else "end" if place > 1 - edge else "middle"


def _point(x: ChartAxis, y: ChartAxis, across: float, down: float) -> str:
    # Far outside is as good as just outside, and a browser draws no line to where numbers end.
    place = min(2.0, max(-1.0, y.position_of(down)))
    return f"{x.position_of(across) * _ACROSS:.1f} {_PLOT * (1 - place):.1f}"


def _down(place: float) -> float:
    return _TOP + _PLOT * (1 - place)


def _round_step(least: float) -> float:
    """Return 1, 2 or 5 times a power of ten, and not below `least`."""
    power = 10.0 ** floor(log10(least))
    return next(each * power for each in (1, 2, 5, 10) if each * power >= least * (1 - 1e-9))
