"""Line charts: inline SVG whose text keeps its size at any width of the page, with a legend and numbered marks below.

Places across are in per cent and places down in pixels, so that only the lines themselves are stretched.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import ceil, floor, log10

from tuneport.pages.text import escape_html, html_text

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
) -> str:
    """Return the chart: at most `STYLES` lines. `here` is an upright line with its words: where the reader is. The ends
    of linear axes are written down for scripts, which read values off the lines."""
    if not drawn:
        return ""
    parts = [f'<line class="grid" x1="0" x2="100%" y1="{_tick(y, tick)}" y2="{_tick(y, tick)}"/>' for tick in y.ticks()]
    parts.append(
        f'<svg y="{_TOP}" width="100%" height="{_PLOT}" viewBox="0 0 {_ACROSS} {_PLOT}" preserveAspectRatio="none">'
        + "".join(_band(line, x, y, style) for style, line in enumerate(drawn[:STYLES]))
        + "".join(_line(line, x, y, style) for style, line in enumerate(drawn[:STYLES]))
        + "</svg>"
    )
    parts += _ticks(x, y)
    if here is not None:
        parts += _here(x, *here)
    shown = [mark for mark in marks if 0 <= x.position_of(mark.x) <= 1 and 0 <= y.position_of(mark.y) <= 1]
    for number, (mark, lift) in enumerate(
        zip(shown, _lifts([x.position_of(mark.x) for mark in shown]), strict=True), start=1
    ):
        across, down = _percent(x.position_of(mark.x)), float(_down(y.position_of(mark.y)))
        parts.append(
            f'<circle class="mark" cx="{across}" cy="{down}" r="3.5">'
            f"<title>{escape_html(mark.words, 300)}</title></circle>"
            f'<text class="mark number" x="{across}" y="{down + lift:.1f}" text-anchor="middle">{number}</text>'
        )
    height = _TOP + _PLOT + _FOOT
    # The style keeps room for the words left of the plot.
    kind = "lines wide" if any(len(y.words(tick)) > _SHORT for tick in y.ticks()) else "lines"
    ends = "" if x.logarithmic or y.logarithmic else f' data-x="{x.low:g} {x.high:g}" data-y="{y.low:g} {y.high:g}"'
    svg = f'<svg class="{kind}"{ends} width="100%" height="{height}" role="img" aria-label="{escape_html(label, 300)}">'
    listed = "".join(f"<li>{html_text(mark.words, 500)}</li>" for mark in shown)
    return f"{svg}{''.join(parts)}</svg>{_legend(drawn)}" + (f'<ol class="marks">{listed}</ol>' if listed else "")


def _tick(y: ChartAxis, tick: float) -> str:
    return _down(y.position_of(tick))


def _ticks(x: ChartAxis, y: ChartAxis) -> list[str]:
    parts = []
    for tick in y.ticks():
        middle = float(_tick(y, tick)) + 4
        parts.append(f'<text x="-8" y="{middle:.1f}" text-anchor="end">{escape_html(y.words(tick))}</text>')
    for tick in x.ticks():
        place = x.position_of(tick)
        anchor = "start" if place < 0.05 else "end" if place > 0.95 else "middle"
        at = f'x="{_percent(place)}" y="{_TOP + _PLOT + 18}" text-anchor="{anchor}"'
        parts.append(f"<text {at}>{escape_html(x.words(tick))}</text>")
    return parts


def _here(x: ChartAxis, at: float, words: str) -> list[str]:
    place = x.position_of(at)
    if not 0 <= place <= 1:
        return []
    across = _percent(place)
    anchor = "end" if place > 0.6 else "start" if place < 0.4 else "middle"
    return [
        f'<line class="here" x1="{across}" x2="{across}" y1="{_TOP}" y2="{_TOP + _PLOT}"/>',
        f'<text class="mark" x="{across}" y="12" text-anchor="{anchor}">{escape_html(words, 60)}</text>',
    ]


def _lifts(places: Sequence[float]) -> list[int]:
    """Return how far above its point each number stands: neighbours that would touch stand below, higher and lower in
    turn."""
    lifts: list[int] = []
    for number, place in enumerate(places):
        taken = {lifts[other] for other in range(number) if abs(places[other] - place) < 0.05}
        lifts.append(next((lift for lift in (-8, 18, -22, 32) if lift not in taken), -36))
    return lifts


def _line(line: ChartLine, x: ChartAxis, y: ChartAxis, style: int) -> str:
    path = " ".join(f"{'L' if number else 'M'}{_point(x, y, *each)}" for number, each in enumerate(line.points))
    return f'<path class="line s{style}" d="{path}"><title>{escape_html(line.name, 200)}</title></path>'


def _band(line: ChartLine, x: ChartAxis, y: ChartAxis, style: int) -> str:
    if not line.band:
        return ""
    above = [_point(x, y, across, high) for across, _, high in line.band]
    below = [_point(x, y, across, low) for across, low, _ in reversed(line.band)]
    return f'<path class="band s{style}" d="M{" L".join([*above, *below])}Z"/>'


def _legend(drawn: Sequence[ChartLine]) -> str:
    rows = [
        f'<li><svg width="30" height="12" aria-hidden="true"><path class="line s{style}" d="M1 6H29"/></svg>'
        f'<span>{html_text(line.name, 200)} <span class="quiet">{html_text(line.note, 300)}</span></span></li>'
        for style, line in enumerate(drawn[:STYLES])
    ]
    return f'<ul class="legend">{"".join(rows)}</ul>'


def _point(x: ChartAxis, y: ChartAxis, across: float, down: float) -> str:
    # Far outside is as good as just outside, and a browser draws no line to where numbers end.
    place = min(2.0, max(-1.0, y.position_of(down)))
    return f"{x.position_of(across) * _ACROSS:.1f} {_PLOT * (1 - place):.1f}"


def _percent(place: float) -> str:
    return f"{100 * place:.2f}%"


def _down(place: float) -> str:
    return f"{_TOP + _PLOT * (1 - place):.1f}"


def _round_step(least: float) -> float:
    """Return 1, 2 or 5 times a power of ten, and not below `least`."""
    power = 10.0 ** floor(log10(least))
    return next(each * power for each in (1, 2, 5, 10) if each * power >= least * (1 - 1e-9))
