"""Each job's losses over its steps, with the best step marked, and the verdict on them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tuneport.curves import build_curve
from tuneport.pages.lines import ChartAxis, ChartLine, ChartMark, draw_line_chart
from tuneport.workflows.evaluation.models.trained import TrainedModelJob

if TYPE_CHECKING:
    from markupsafe import Markup

_MOST_POINTS = 400


def draw_training_curve(job: TrainedModelJob) -> Markup | None:
    """Return the chart of the job's losses with the verdict's marks. Returns None if it has no losses."""
    verdict = job.curve
    if verdict is None:
        return None
    curve = build_curve(job.points)
    drawn = []
    for name, series in (("training loss", curve.train), ("validation loss", curve.valid)):
        shown = series.in_stretches(_MOST_POINTS)
        if len(shown):
            points = list(zip(shown.steps, shown.values, strict=True))
            note = f"{points[0][1]:.3g} at first, {points[-1][1]:.3g} at the end"
            drawn.append(ChartLine(name, points if len(points) > 1 else [*points, *points], note=note))
    if not drawn:
        return None
    values = [loss for line in drawn for _, loss in line.points]
    first = min(line.points[0][0] for line in drawn)
    last = max(curve.last_step, first + 1)
    low = 0.0 if min(values) < 0.6 * max(values) else min(values) - 0.1 * (max(values) - min(values) or 1.0)
    low = min(low, min(values))
    x = ChartAxis(first, last, lambda step: f"{step:,.0f}")
    y = ChartAxis(low, max(max(values) * 1.05, low + 1e-6), lambda loss: f"{loss:.3g}")
    marks = []
    if verdict.best_step is not None and verdict.best_loss is not None:
        epoch = "" if verdict.best_epoch is None else f" (epoch {verdict.best_epoch:.3g})"
        words = f"the best step: {verdict.best_step:,}{epoch}, validation loss {verdict.best_loss:.4g}"
        marks.append(ChartMark(verdict.best_step, verdict.best_loss, words))
    here = None if verdict.since_step is None else (float(verdict.since_step), "validation rises from here")
    return draw_line_chart(drawn, x, y, label="loss by training step", marks=marks, here=here)
