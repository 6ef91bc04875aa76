"""The page of models and backends: models with their shutdown dates, backends with what is set up for them."""

from __future__ import annotations

from datetime import date

from fastapi import APIRouter, Request, Response

from tuneport.backends import backend_manifest, backend_names
from tuneport.serve.dashboard.job_view import DashboardJob
from tuneport.serve.dashboard.pages import DashboardPages, dashboard_page_routes
from tuneport.serve.gateway import Gateway
from tuneport.serve.native.models import list_native_base_models, list_native_jobs_with_models, native_tuned_model
from tuneport.workflows.doctor import list_backend_states as look
from tuneport.workflows.models import models as list_models
from tuneport.workflows.models import serving_words, training_words

MOST_TUNED = 100


def router(gateway: Gateway, pages: DashboardPages) -> APIRouter:
    routes = dashboard_page_routes(pages)

    @routes.get("/backends")
    def backends(request: Request) -> Response:
        found = sorted(look(gateway.settings, date.today()), key=lambda row: not row["configured"])
        return pages.render_page("backends.html", request, backends=found)

    @routes.get("/models")
    def models(request: Request) -> Response:
        today, offered = date.today(), []
        ready = {row["name"] for row in look(gateway.settings, today) if row["configured"]}
        tunable = {(each.backend, each.id): each for each in list_models(settings=gateway.settings, today=today).offers}
        for name in backend_names(gateway.settings):
            manifest = backend_manifest(name, gateway.settings)
            rows = [
                {
                    "model": model,
                    "days": _days(model.retires, today),
                    "offer": tunable.get((name, model.id)),
                }
                for model in list_native_base_models(name, gateway.settings, today)
            ]
            offered.append(
                {
                    "name": name,
                    "title": manifest.title,
                    "no_new_jobs_from": manifest.no_new_jobs_from,
                    "any_model": manifest.any_model is not None,
                    "models": rows,
                    "own_machine": manifest.own_machine,
                    "contexts": any(model.context for model in manifest.models),
                    "ready": name in ready,
                }
            )
        offered.sort(key=lambda offer: not offer["ready"])
        tuned = []
        for each in list_native_jobs_with_models(gateway, limit=MOST_TUNED)[0]:
            told = native_tuned_model(each, gateway.settings, today)
            tuned.append(
                {"job": DashboardJob.from_job(each), "last_day": told.retires, "days": _days(told.retires, today)}
            )
        prices = {"training": training_words, "answers": serving_words}
        return pages.render_page("models.html", request, tuned=tuned, offered=offered, prices=prices)

    return routes


def list_dashboard_tuned_jobs(gateway: Gateway) -> list[DashboardJob]:
    """Return the newest jobs whose tuned model exists."""
    return [DashboardJob.from_job(each) for each in list_native_jobs_with_models(gateway, limit=MOST_TUNED)[0]]


def _days(last_day: date | None, today: date) -> int | None:
    return None if last_day is None else (last_day - today).days
