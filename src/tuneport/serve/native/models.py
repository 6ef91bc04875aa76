"""The route /tuneport/v1/models: what each backend tunes and until when, and which tuned models answer.

The dashboard's page of models shows the same rows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from datetime import date
from typing import Annotated

from fastapi import APIRouter, Query

from tuneport.backends import backend_manifest, backend_names
from tuneport.backends.routing import missing_backend_setup
from tuneport.errors import TuneportError, UnsupportedError
from tuneport.lifecycle.job_view import JobView
from tuneport.lifecycle.service import JobService
from tuneport.manifests import find_manifest_model, load_models
from tuneport.manifests.schema import Manifest
from tuneport.serve.gateway import Gateway
from tuneport.serve.http.errors import gateway_not_found_refusal
from tuneport.serve.wire.native import Answers, BaseModelTold, Endpoint, ModelCatalogue, TunedModelTold
from tuneport.settings import Settings
from tuneport.types import Deployment, JobStatus


def router(gateway: Gateway) -> APIRouter:
    routes = APIRouter(prefix="/tuneport/v1", tags=["Models"])

    @routes.get("/models", response_model=ModelCatalogue)
    def list_own_models(
        after: str | None = None,
        limit: Annotated[int, Query(ge=1, le=1000)] = 100,
        backend: str | None = None,
        endpoints: Annotated[
            bool, Query(description="Ask the backends for their endpoints; this takes a while.")
        ] = False,
    ) -> ModelCatalogue:
        """List the models. `base` has every model of every backend and comes with the first page; `tuned` has the
        project's own, newest first, after the one of the job `after`. `answers` says whether a chat is answered now;
        `endpoint`, only on request, describes the model's endpoint."""
        if after is not None and gateway.store.listing.get(after) is None:
            raise gateway_not_found_refusal(f"No job {after!r} here.", "after", "job_not_found")
        settings, today = gateway.settings, date.today()
        base = [
            told
            for name in (backend_names(settings) if after is None else ())
            if backend in (None, name)
            for told in list_native_base_models(name, settings, today)
        ]
        jobs, more = list_native_jobs_with_models(gateway, limit=limit, after=after, backend=backend)
        tuned = [native_tuned_model(each, settings, today) for each in jobs]
        trouble: dict[str, str] = {}
        if endpoints:
            trouble = _with_endpoints(gateway.workspace, tuned)
        return ModelCatalogue(base=base, tuned=tuned, has_more=more, not_asked=trouble)

    return routes


def is_gateway_backend_usable(manifest: Manifest, settings: Settings) -> bool:
    """Return whether the backend can be used: with its key, address and packages."""
    return not missing_backend_setup(manifest, settings)


def list_native_base_models(backend: str, settings: Settings, today: date) -> list[BaseModelTold]:
    """Return the base models that the backend lists, or, if it takes any open weights, those that tuneport knows by
    name."""
    manifest = backend_manifest(backend, settings)
    usable = is_gateway_backend_usable(manifest, settings)
    listed = list(manifest.models)
    if manifest.any_model is not None and not manifest.third_party and not manifest.any_model.any_name:
        weights = load_models().weights.items()
        known = (name for name, row in weights if row.hub or row.bundled)
        listed += [found for name in known if (found := find_manifest_model(manifest, name))]
    return [
        BaseModelTold(
            id=model.id,
            backend=backend,
            title=model.title,
            methods=list(model.methods),
            adapters=list(model.adapters),
            context=model.context,
            accepts_new_jobs=not model.retired(today)
            and manifest.no_training is None
            and (manifest.no_new_jobs_from is None or today < manifest.no_new_jobs_from),
            retires=model.retires,
            answers="no_longer" if model.retired(today) else "now" if usable else "not_configured",
        )
        for model in listed
    ]


def list_native_jobs_with_models(
    gateway: Gateway, *, limit: int, after: str | None = None, backend: str | None = None
) -> tuple[list[JobView], bool]:
    """Return the newest jobs of the caller's project whose tuned model exists."""
    found, more = gateway.store.listing.page(
        limit=limit, after=after, statuses=[JobStatus.SUCCEEDED], backend=backend, with_model=True
    )
    return found, more


def native_tuned_model(job: JobView, settings: Settings, today: date) -> TunedModelTold:
    row = job.record
    assert row is not None and row.tuned_model is not None
    spec = row.tune_spec
    last_day, answers = _how_it_answers(row.backend, row.model, settings, today)
    return TunedModelTold(
        id=job.model_name,
        backend=row.backend,
        backend_model=row.tuned_model,
        base=row.model,
        job=row.id,
        method=spec.method,
        adapter=spec.adapter,
        suffix=spec.suffix,
        created_at=row.finished_at or row.created_at,
        retires=last_day,
        answers=answers,
    )


def _how_it_answers(backend: str, base: str, settings: Settings, today: date) -> tuple[date | None, Answers]:
    """Return a tuned model's shutdown date, which is its base model's, and whether it answers today."""
    try:
        manifest = backend_manifest(backend, settings)
        offered = find_manifest_model(manifest, base)
    except TuneportError:  # a backend of a tuneport.toml that is not here any more
        return None, "not_configured"
    last_day = None if offered is None else offered.retires
    if offered is not None and offered.retired(today):
        return last_day, "no_longer"
    if not is_gateway_backend_usable(manifest, settings):
        return last_day, "not_configured"
    return last_day, "from_endpoint" if manifest.deployment is not None or manifest.hosting else "now"


def _with_endpoints(workspace: JobService, tuned: Sequence[TunedModelTold]) -> dict[str, str]:
    """Return the endpoints of these models. Each backend is asked once, in parallel. Other endpoints are left out:
    the account is shared by all projects."""
    names = sorted({told.backend for told in tuned if told.answers == "from_endpoint"})
    trouble: dict[str, str] = {}

    def ask(name: str) -> Mapping[str, Deployment]:
        try:
            return {each.model: each for each in workspace.backend(name).deployments()}
        except UnsupportedError:
            return {}
        except TuneportError as error:
            trouble[name] = str(error)
            return {}

    with ThreadPoolExecutor(max(1, len(names))) as pool:
        asked = {name: pool.submit(copy_context().run, ask, name) for name in names}
        found = {name: future.result() for name, future in asked.items()}
    for told in tuned:
        if (up := found.get(told.backend, {}).get(told.backend_model)) is not None:
            told.endpoint = Endpoint(id=up.id, status=up.status, usd_per_hour=up.usd_per_hour)
            if up.status == "ready":
                told.answers = "now"
    return trouble
