"""Each job's losses over its steps, with the best step marked, and the verdict on them."""

from __future__ import annotations

from collections.abc import Mapping

from tuneport.curves import CurveVerdict, build_curve
from tuneport.pages.lines import ChartAxis, ChartLine, ChartMark, draw_line_chart
from tuneport.pages.text import html_text
from tuneport.workflows.evaluation.models.trained import TrainedModelJob

_MOST_POINTS = 400


def render_training_curves(trained: Mapping[str, TrainedModelJob]) -> str:
    if not trained:
        return ""
    return "<h2>Loss curves</h2>" + "".join(_job_curve(name, job) for name, job in trained.items())


def _job_curve(name: str, job: TrainedModelJob) -> str:
    head = f"<h3>{html_text(name, 200)}</h3>"
    if job.curve is None:
        return f'<section class="chart">{head}<p>unavailable, because {html_text(job.no_curve)}</p></section>'
    verdict = job.curve
    told = "".join(f"<li>{html_text(each)}</li>" for each in verdict.evidence)
    fixes = "".join(f'<li class="fix">{html_text(each)}</li>' for each in verdict.fixes)
    listed = f"<ul>{told}{fixes}</ul>" if told or fixes else ""
    return f'<section class="chart">{head}<p>{html_text(verdict.summary)}</p>{_drawn(job, verdict)}{listed}</section>'


def _drawn(job: TrainedModelJob, verdict: CurveVerdict) -> str:
    curve = build_curve(job.points)
    drawn = []
    for name, series in (("training loss", curve.train), ("validation loss", curve.valid)):
        shown = series.in_stretches(_MOST_POINTS)
        if len(shown):
            points = list(zip(shown.steps, shown.values, strict=True))
            note = f"{points[0][1]:.3g} at first, {points[-1][1]:.3g} at the end"
            drawn.append(ChartLine(name, points if len(points) > 1 else [*points, *points], note=note))
    if not drawn:
        return ""
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
