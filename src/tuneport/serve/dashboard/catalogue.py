"""What there is: models with their last days, backends with what is set up. Facts of the manifests, and of jobs."""

from __future__ import annotations

from datetime import date

from fastapi import APIRouter, Request, Response

from tuneport.backends import backend_names, manifest_of
from tuneport.errors import TuneportError
from tuneport.jobs.overview import listed_jobs
from tuneport.serve.dashboard.job_view import JobView
from tuneport.serve.dashboard.pages import Pages, page_routes
from tuneport.serve.gateway import Gateway
from tuneport.types import JobStatus
from tuneport.workflows.doctor import backends as look

MOST_TUNED = 100


def router(gateway: Gateway, pages: Pages) -> APIRouter:
    routes = page_routes(pages)

    @routes.get("/backends")
    def backends(request: Request) -> Response:
        return pages.page("backends.html", request, backends=look(gateway.settings, date.today()))

    @routes.get("/models")
    def models(request: Request) -> Response:
        today, offered = date.today(), []
        for name in backend_names(gateway.settings):
            manifest = manifest_of(name, gateway.settings)
            rows = [
                {"model": model, "days": None if model.retires is None else (model.retires - today).days}
                for model in manifest.models
            ]
            offered.append(
                {
                    "name": name,
                    "title": manifest.title,
                    "no_new_jobs_from": manifest.no_new_jobs_from,
                    "any_model": manifest.any_model is not None,
                    "models": rows,
                }
            )
        tuned = []
        for job in tuned_jobs(gateway):
            last_day = _last_day(gateway, job)
            days = None if last_day is None else (last_day - today).days
            tuned.append({"job": job, "last_day": last_day, "days": days})
        return pages.page("models.html", request, tuned=tuned, offered=offered)

    return routes


def tuned_jobs(gateway: Gateway) -> list[JobView]:
    """The newest jobs whose tuned model is there."""
    found, _ = listed_jobs(gateway.store, limit=MOST_TUNED, statuses=[JobStatus.SUCCEEDED])
    return [view for view in map(JobView, found) if view.tuned_model is not None]


def _last_day(gateway: Gateway, job: JobView) -> date | None:
    """A tuned model ends with the one that it was tuned from."""
    try:
        offered = manifest_of(job.backend or "", gateway.settings).offered(job.model or "")
    except TuneportError:  # a backend of a tuneport.toml that is not here any more
        return None
    return None if offered is None else offered.retires
