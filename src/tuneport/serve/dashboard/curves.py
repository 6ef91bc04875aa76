"""The metric points of jobs for the pages: fetched in the background, thinned and drawn."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from statistics import fmean

from markupsafe import Markup

from tuneport.backends import backend_manifest
from tuneport.curves import CurveVerdict
from tuneport.errors import TuneportError, UnsupportedError
from tuneport.lifecycle.schema.records import JobRecord
from tuneport.lifecycle.service import JobService
from tuneport.pages.lines import ChartAxis, ChartLine, ChartMark, draw_line_chart
from tuneport.serve.gateway import Gateway
from tuneport.types import MetricPoint

FIRST_WAIT_SECONDS = 3.0
"""How long a page waits for points that were never fetched. A slower provider's points come with the next update."""
_KEPT = 200
_MOST_POINTS = 150


@dataclass
class DashboardCurvePoints:
    """The known metrics of a job. `unavailable` says why there are none, `settled` that no more will come."""

    points: Sequence[MetricPoint] = ()
    verdict: CurveVerdict | None = None
    unavailable: str | None = None
    settled: bool = False


@dataclass
class _Entry:
    known: DashboardCurvePoints | None = None
    asked_at: float = float("-inf")
    after_the_end: bool = False  # fetched after the job's end
    of_the_end: bool = False  # and received
    running: threading.Event | None = None
    lock: threading.Lock = field(default_factory=threading.Lock)


class DashboardCurves:
    """The curves of jobs. It asks each backend at most once per interval, in its own threads, so that no page waits
    for a provider."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._entries: OrderedDict[str, _Entry] = OrderedDict()
        self._lock = threading.Lock()

    def curve_points(self, row: JobRecord) -> DashboardCurvePoints:
        if row.remote_id is None:
            return DashboardCurvePoints(unavailable=f"{row.backend} does not have the job yet")
        with self._lock:
            entry = self._entries.setdefault(row.id, _Entry())
            self._entries.move_to_end(row.id)
            while len(self._entries) > _KEPT:
                self._entries.popitem(last=False)
        running = self._ask(entry, row)
        if running is not None and (entry.known is None or row.job_status.terminal):
            running.wait(FIRST_WAIT_SECONDS)
        if entry.known is None:
            return DashboardCurvePoints(unavailable=f"{row.backend} has not answered yet; this page goes on asking")
        return replace(entry.known, settled=entry.of_the_end)

    def _ask(self, entry: _Entry, row: JobRecord) -> threading.Event | None:
        remote = backend_manifest(row.backend, self._gateway.settings).third_party
        timing = self._gateway.timing
        fresh = timing.curve_remote if remote else timing.curve
        with entry.lock:
            if entry.running is not None:
                return entry.running
            if entry.of_the_end and row.job_status.terminal:
                return None
            ended_since = row.job_status.terminal and not entry.after_the_end
            if time.monotonic() - entry.asked_at < fresh and not ended_since:
                return None
            entry.asked_at, running = time.monotonic(), threading.Event()
            entry.after_the_end = row.job_status.terminal
            entry.running = running
        asked = (self._gateway.workspace, entry, row, running)
        threading.Thread(target=self._fetch, args=asked, daemon=True).start()
        return running

    def _fetch(self, workspace: JobService, entry: _Entry, row: JobRecord, running: threading.Event) -> None:
        found, settled = entry.known, False
        try:
            found = DashboardCurvePoints(workspace.metrics(row.id))
            if found.points:
                found = replace(found, verdict=workspace.judged(row, found.points))
            settled = row.job_status.terminal
        except UnsupportedError as error:
            found, settled = DashboardCurvePoints(unavailable=str(error)), True
        except TuneportError as error:
            found = entry.known or DashboardCurvePoints(unavailable=str(error))
        finally:
            with entry.lock:
                entry.known, entry.of_the_end, entry.running = found, settled, None
            running.set()
            self._gateway.streams.report_job_change(row.id)


# --- drawing ---------------------------------------------------------------------------------------------------------

Value = Callable[[MetricPoint], float | None]
Format = Callable[[float], str]


@dataclass(frozen=True)
class DrawnChart:
    title: str
    chart: Markup


def draw_dashboard_charts(points: Sequence[MetricPoint], verdict: CurveVerdict | None = None) -> list[DrawnChart]:
    """Draw the charts of loss, learning rate and accuracy that have points, and mark the verdict's best step."""
    losses = [
        _line("training", points, dashboard_point_train_loss, _loss),
        _line("validation", points, dashboard_point_valid_loss, _loss),
    ]
    rates = [_line("learning rate", points, lambda point: point.learning_rate, _rate)]
    accuracies = [
        _line("training", points, lambda point: point.train_accuracy, _share),
        _line("validation", points, lambda point: point.valid_accuracy, _share),
    ]
    marks = [] if verdict is None else _marks(verdict)
    wanted: list[tuple[str, list[ChartLine | None], Format, list[ChartMark]]] = [
        ("Loss", losses, _loss, marks),
        ("Learning rate", rates, _rate, []),
        ("Token accuracy", accuracies, _share, []),
    ]
    drawn = []
    for title, found, told, marked in wanted:
        there = [line for line in found if line is not None]
        if there:
            drawn.append(DrawnChart(title, render_dashboard_chart(there, told, title, marked)))
    return drawn


def draw_dashboard_overlay_chart(
    jobs: Sequence[tuple[str, Sequence[MetricPoint]]], value: Value, title: str
) -> DrawnChart | None:
    """Draw one line a job, each over its own steps. Returns None if there is nothing to draw."""
    there = [line for name, points in jobs if (line := _line(name, points, value, _loss)) is not None]
    return DrawnChart(title, render_dashboard_chart(there, _loss, title)) if there else None


def dashboard_point_train_loss(point: MetricPoint) -> float | None:
    return point.train_loss


def dashboard_point_valid_loss(point: MetricPoint) -> float | None:
    return point.extra.get("full_valid_loss") if point.valid_loss is None else point.valid_loss


def render_dashboard_chart(
    drawn: Sequence[ChartLine], told: Format, title: str, marks: Sequence[ChartMark] = ()
) -> Markup:
    steps = [step for line in drawn for step, _ in line.points]
    values = [value for line in drawn for _, value in line.points]
    values += [value for line in drawn for _, low, high in line.band for value in (low, high)]
    low, high = min(values), max(values)
    room = (high - low) * 0.08 or abs(high) * 0.1 or 1.0
    first, last = min(steps), max(steps)
    if first == last:
        first, last = first - 1, last + 1
    x = ChartAxis(first, last, lambda step: f"{step:,.0f}")
    y = ChartAxis(max(0.0, low - room) if low >= 0 else low - room, high + room, _share if told is _share else _tick)
    return draw_line_chart(drawn, x, y, label=f"{title} by training step", marks=marks)


def _marks(verdict: CurveVerdict) -> list[ChartMark]:
    if verdict.best_step is None or verdict.best_loss is None:
        return []
    epoch = "" if verdict.best_epoch is None else f", epoch {verdict.best_epoch:.3g}"
    told = f"lowest validation loss: {_loss(verdict.best_loss)} at step {verdict.best_step:,}{epoch}"
    return [ChartMark(float(verdict.best_step), verdict.best_loss, told)]


def _line(name: str, points: Sequence[MetricPoint], value: Value, told: Format) -> ChartLine | None:
    found = [(float(point.step), number) for point in points if (number := value(point)) is not None]
    found = [pair for pair in found if abs(pair[1]) < 1e12]  # drop infinities and NaN
    if not found:
        return None
    found.sort()
    step, last = found[-1]
    lowest = min(number for _, number in found)
    note = f"{told(last)} at step {step:,.0f}" + (f", lowest {told(lowest)}" if told is _loss and lowest < last else "")
    line, band = _smoothed(found)
    if band:
        note += f"; the mean of each {-(-len(found) // len(band))} points, with the lowest and the highest around it"
    return ChartLine(name, line, band, note)


def _smoothed(found: list[tuple[float, float]]) -> tuple[list[tuple[float, float]], list[tuple[float, float, float]]]:
    """Return the mean of each stretch, and its minimum and maximum, so that no spike of a long curve is lost."""
    if len(found) <= _MOST_POINTS:
        return found, []
    stretch = -(-len(found) // _MOST_POINTS)
    parts = [found[start : start + stretch] for start in range(0, len(found), stretch)]
    line = [(fmean(step for step, _ in part), fmean(value for _, value in part)) for part in parts]
    band = [
        (middle, min(value for _, value in part), max(value for _, value in part))
        for (middle, _), part in zip(line, parts, strict=True)
    ]
    return line, band


def _tick(value: float) -> str:
    return f"{value:.3g}"


def _loss(value: float) -> str:
    return f"{value:.3f}" if abs(value) < 10 else f"{value:,.1f}"


def _rate(value: float) -> str:
    return f"{value:.2g}"


def _share(value: float) -> str:
    return f"{value:.0%}"
