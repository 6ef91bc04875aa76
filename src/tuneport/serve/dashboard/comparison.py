"""The page that compares jobs: their curves in one chart, their numbers in one table."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response

from tuneport.pages.lines import STYLES
from tuneport.serve.dashboard.curves import (
    DashboardCurvePoints,
    DashboardCurves,
    dashboard_point_train_loss,
    dashboard_point_valid_loss,
    draw_dashboard_overlay_chart,
)
from tuneport.serve.dashboard.job import is_job_page_live
from tuneport.serve.dashboard.job_view import DashboardJob
from tuneport.serve.dashboard.live import DashboardReaderMark, LivePages, LivePageView
from tuneport.serve.dashboard.pages import DashboardPages, dashboard_page_routes
from tuneport.serve.gateway import Gateway
from tuneport.serve.http.errors import Refusal
from tuneport.types import MetricPoint

_NONE = "–"
_SAME = {"n_epochs": "epochs"}


def router(gateway: Gateway, pages: DashboardPages, curves: DashboardCurves, live: LivePages) -> APIRouter:
    routes = dashboard_page_routes(pages)

    @routes.get("/compare")
    def compare(request: Request, job: Annotated[list[str] | None, Query(max_length=50)] = None) -> Response:
        wanted = list(dict.fromkeys(job or []))
        if len(wanted) > STYLES:
            raise Refusal(400, f"{len(wanted)} jobs are more than can be told apart: choose at most {STYLES}.")

        def look() -> dict[str, Any]:
            return _compared(gateway, curves, wanted)

        def draw(_: DashboardReaderMark) -> LivePageView:
            context = look()
            return LivePageView(pages.render_live_parts("compare.html", request, **context), moving=context["moving"])

        if live.is_stream_request(request):
            return live.stream(
                request, draw, gateway.streams.watch_all_jobs(gateway.project), seconds=gateway.timing.jobs_page
            )
        context = look()
        return pages.render_page(
            "compare.html", request, live=DashboardReaderMark() if context["moving"] else None, **context
        )

    return routes


def _compared(gateway: Gateway, curves: DashboardCurves, wanted: Sequence[str]) -> dict[str, Any]:
    views = [DashboardJob.from_job(found) for each in wanted if (found := gateway.store.listing.get(each)) is not None]
    known: list[DashboardCurvePoints] = []
    unsettled = False
    for view in views:
        row = view.record
        known.append(DashboardCurvePoints() if row is None else curves.curve_points(row))
        unsettled = unsettled or is_job_page_live(view, known[-1])
        if row is not None:
            gateway.request_poll(row)
    names = Counter(view.name for view in views)
    named = [
        (view.name if names[view.name] == 1 else f"{view.name} ({view.id})", found.points)
        for view, found in zip(views, known, strict=True)
    ]
    drawn = [
        draw_dashboard_overlay_chart(named, value, title)
        for value, title in (
            (dashboard_point_train_loss, "Training loss"),
            (dashboard_point_valid_loss, "Validation loss"),
        )
    ]
    return {
        "jobs": views,
        "charts": [each for each in drawn if each is not None],
        "figures": _figures(views, known),
        "moving": unsettled,
    }


def _figures(
    views: Sequence[DashboardJob], known: Sequence[DashboardCurvePoints]
) -> list[tuple[str, list[tuple[str, bool]]]]:
    """Return the table's rows, each value with whether it is the best. Rows without a value are left out. Losses are
    compared only between jobs with the same model and the same validation rows."""
    points = [each.points for each in known]
    names = list(dict.fromkeys(name for view in views for name in dashboard_job_settings(view)))
    plain = {
        "what the curves say": [_NONE if each.verdict is None else each.verdict.finding.words for each in known],
        "last training loss": [_last(found, dashboard_point_train_loss) for found in points],
        "last validation loss": [_last(found, dashboard_point_valid_loss) for found in points],
        "lowest validation loss": [_lowest(found, dashboard_point_valid_loss) for found in points],
        "last validation accuracy": [_last(found, _accuracy, "{:.1%}") for found in points],
        "trained tokens": [_tokens(view) for view in views],
    }
    plain |= {
        name.replace("_", " "): [dashboard_job_settings(view).get(name, _NONE) for view in views] for name in names
    }
    best = {"lowest validation loss": _best(views, [_values(found, dashboard_point_valid_loss) for found in points])}
    return [
        (name, [(value, place == best.get(name)) for place, value in enumerate(values)])
        for name, values in plain.items()
        if any(value != _NONE for value in values)
    ]


def _best(views: Sequence[DashboardJob], losses: Sequence[list[tuple[float, int]]]) -> int | None:
    """Return the index of the lowest loss. Returns None if the losses cannot be compared."""
    alike = {(view.model, _validation(view)) for view, found in zip(views, losses, strict=True) if found}
    there = [(min(found)[0], place) for place, found in enumerate(losses) if found]
    return min(there)[1] if len(alike) == 1 and len(there) > 1 else None


def _validation(view: DashboardJob) -> str | None:
    row = view.record
    held_out = None if row is None else row.prepared_data.validation
    return None if held_out is None else held_out.sha256


def _accuracy(point: MetricPoint) -> float | None:
    return point.valid_accuracy


def dashboard_job_settings(view: DashboardJob) -> dict[str, str]:
    row, state = view.record, view.state
    given = {} if row is None else row.tune_spec.hyperparameters.given()
    resolved = {**given, **(state.hyperparameters if state else {})}
    return {_SAME.get(name, name): str(value) for name, value in resolved.items() if value is not None}


def _values(points: Sequence[MetricPoint], value: Callable[[MetricPoint], float | None]) -> list[tuple[float, int]]:
    return [(found, point.step) for point in points if (found := value(point)) is not None]


def _last(points: Sequence[MetricPoint], value: Callable[[MetricPoint], float | None], shape: str = "{:.4f}") -> str:
    found = _values(points, value)
    return shape.format(found[-1][0]) if found else _NONE


def _lowest(points: Sequence[MetricPoint], value: Callable[[MetricPoint], float | None]) -> str:
    found = _values(points, value)
    return "{:.4f} at step {:,}".format(*min(found)) if found else _NONE


def _tokens(view: DashboardJob) -> str:
    return f"{view.state.trained_tokens:,}" if view.state is not None and view.state.trained_tokens else _NONE
