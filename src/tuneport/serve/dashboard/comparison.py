"""Jobs held side by side: their curves in one chart, their figures in one table."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response

from tuneport.jobs.overview import listed_job
from tuneport.pages.lines import STYLES
from tuneport.serve.dashboard.curves import Curves, Points, overlaid, train_loss, valid_loss
from tuneport.serve.dashboard.job import moving
from tuneport.serve.dashboard.job_view import JobView
from tuneport.serve.dashboard.live import Live, Mark, View
from tuneport.serve.dashboard.pages import Pages, page_routes
from tuneport.serve.errors import Refusal
from tuneport.serve.gateway import Gateway
from tuneport.types import MetricPoint

LOOK_SECONDS = 5.0
_SAME = {"n_epochs": "epochs"}


def router(gateway: Gateway, pages: Pages, curves: Curves, live: Live) -> APIRouter:
    routes = page_routes(pages)

    @routes.get("/compare")
    def compare(request: Request, job: Annotated[list[str] | None, Query(max_length=50)] = None) -> Response:
        wanted = list(dict.fromkeys(job or []))
        if len(wanted) > STYLES:
            raise Refusal(400, f"{len(wanted)} jobs are more than can be told apart: choose at most {STYLES}.")

        def look() -> dict[str, Any]:
            return _compared(gateway, curves, wanted)

        def draw(_: Mark) -> View:
            context = look()
            return View(pages.parts("compare.html", request, **context), moving=context["moving"])

        if live.wanted(request):
            return live.stream(request, draw, gateway.streams.watching_all(), seconds=LOOK_SECONDS)
        context = look()
        return pages.page("compare.html", request, live=Mark() if context["moving"] else None, **context)

    return routes


def _compared(gateway: Gateway, curves: Curves, wanted: Sequence[str]) -> dict[str, Any]:
    views = [JobView(found) for each in wanted if (found := listed_job(gateway.store, each)) is not None]
    points: list[Sequence[MetricPoint]] = []
    unsettled = False
    for view in views:
        row = view.listed.row
        known = Points() if row is None else curves.of(row)
        points.append(known.points)
        unsettled = unsettled or moving(view, known)
        if row is not None:
            gateway.hurry(row)
    named = [(f"{view.name} ({view.id})", found) for view, found in zip(views, points, strict=True)]
    drawn = [
        overlaid(named, value, title)
        for value, title in ((train_loss, "Training loss"), (valid_loss, "Validation loss"))
    ]
    return {
        "jobs": views,
        "charts": [each for each in drawn if each is not None],
        "figures": _figures(views, points),
        "moving": unsettled,
    }


def _figures(views: Sequence[JobView], points: Sequence[Sequence[MetricPoint]]) -> list[tuple[str, list[str]]]:
    """Rows of the table: those of which at least one job has something to say."""
    names = list(dict.fromkeys(name for view in views for name in settings_of(view)))
    rows = [
        ("last training loss", [_last(found, train_loss) for found in points]),
        ("last validation loss", [_last(found, valid_loss) for found in points]),
        ("lowest validation loss", [_lowest(found, valid_loss) for found in points]),
        ("trained tokens", [_tokens(view) for view in views]),
        *((name.replace("_", " "), [settings_of(view).get(name, "–") for view in views]) for name in names),
    ]
    return [(name, values) for name, values in rows if any(value != "–" for value in values)]


def settings_of(view: JobView) -> dict[str, str]:
    row, state = view.listed.row, view.state
    given = {} if row is None else row.tune_spec.hyperparameters.given()
    resolved = {**given, **(state.hyperparameters if state else {})}
    return {_SAME.get(name, name): str(value) for name, value in resolved.items() if value is not None}


def _values(points: Sequence[MetricPoint], value: Callable[[MetricPoint], float | None]) -> list[tuple[float, int]]:
    return [(found, point.step) for point in points if (found := value(point)) is not None]


def _last(points: Sequence[MetricPoint], value: Callable[[MetricPoint], float | None]) -> str:
    found = _values(points, value)
    return f"{found[-1][0]:.4f}" if found else "–"


def _lowest(points: Sequence[MetricPoint], value: Callable[[MetricPoint], float | None]) -> str:
    found = _values(points, value)
    return "{:.4f} at step {:,}".format(*min(found)) if found else "–"


def _tokens(view: JobView) -> str:
    return f"{view.state.trained_tokens:,}" if view.state is not None and view.state.trained_tokens else "–"
