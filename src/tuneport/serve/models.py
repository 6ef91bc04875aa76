"""/v1/models: base models under the names by which they can be tuned or asked, and what jobs have made of them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

from fastapi import APIRouter

from tuneport.backends import backend_names, manifest_of
from tuneport.errors import ConfigError, ModelNotOfferedError
from tuneport.jobs.planning import readiness
from tuneport.jobs.tables import JobRequestRow, JobRow
from tuneport.manifests import load_models
from tuneport.serve import wire
from tuneport.serve.command_line_jobs import request_for
from tuneport.serve.errors import Refusal, not_found
from tuneport.serve.files import unix
from tuneport.serve.gateway import Gateway
from tuneport.serve.intake import ORGANIZATION, route
from tuneport.serve.job_document import name_told
from tuneport.serve.queries import StrictRoute
from tuneport.serve.reach import CHECKPOINT, is_kept_from
from tuneport.types import JobStatus


@dataclass(frozen=True)
class Tuned:
    """A tuned model of a job, or with `step` what the job had after it."""

    request: JobRequestRow
    row: JobRow
    step: int | None = None


def tuned_model(gateway: Gateway, name: str) -> Tuned | None:
    """The job behind a name, whatever its state; None where the name is none of a job's."""
    plain, _, step = name.partition(CHECKPOINT)
    request = gateway.store.request_of_model(plain)
    if request is None:
        upstream = gateway.store.job_of_model(name) or (gateway.store.job_of_model(plain) if step else None)
        if upstream is not None:
            request = gateway.store.job_request(upstream.id) or request_for(upstream)
    if request is None or (step and not step.isdecimal()):
        return None
    row = gateway.store.jobs_by_id([request.id]).get(request.id)
    return None if row is None else Tuned(request, row, int(step) if step else None)


def router(gateway: Gateway) -> APIRouter:
    routes = APIRouter(prefix="/v1", tags=["Models"], route_class=StrictRoute)

    @routes.get("/models", response_model=wire.ModelList, response_model_exclude_none=True)
    def list_models() -> wire.ModelList:
        """Base models of the backends that are configured, the names that stand for them, and tuned models."""
        found = {model.id: model for model in [*_base_models(gateway), *_tuned_models(gateway)]}
        return wire.ModelList(data=list(found.values()))

    @routes.get("/models/{model:path}", response_model=wire.Model, response_model_exclude_none=True)
    def retrieve_model(model: str) -> wire.Model:
        tuned = tuned_model(gateway, model)
        if tuned is not None and tuned.row.deleted_at is None:
            if tuned.step is not None:
                return wire.Model(id=model, created=unix(tuned.row.created_at), owned_by=ORGANIZATION)
            if tuned.row.job_status is JobStatus.SUCCEEDED:
                made = tuned.row.finished_at or tuned.row.created_at
                return wire.Model(id=model, created=unix(made), owned_by=ORGANIZATION)
        known = next((row for row in _base_models(gateway) if row.id == model), None)
        if known is not None:
            return known
        try:
            found = None if model.startswith("ft:") or is_kept_from(gateway, model) else route(model, gateway.settings)
        except (ModelNotOfferedError, ConfigError):
            found = None
        if found is None:
            raise not_found(f"The model '{model}' does not exist", "model", "model_not_found")
        return wire.Model(id=model, created=0, owned_by=found.backend or ORGANIZATION)

    @routes.delete("/models/{model:path}", response_model=wire.DeletedModel)
    def delete_model(model: str) -> wire.DeletedModel:
        """Delete a tuned model at its backend, for good. Of one that was deleted: the same answer, no error."""
        tuned = tuned_model(gateway, model)
        if tuned is None or tuned.step is not None:
            raise not_found(f"The model '{model}' does not exist, or is none of yours", "model", "model_not_found")
        if tuned.row.job_status is not JobStatus.SUCCEEDED:
            raise Refusal(400, f"The job {tuned.request.id} has made no model.", param="model", code="invalid_value")
        gateway.workspace.delete(tuned.row.id)
        return wire.DeletedModel(id=model, deleted=True)

    return routes


def _base_models(gateway: Gateway) -> list[wire.Model]:
    settings, today = gateway.settings, date.today()
    manifests = [manifest_of(name, settings) for name in backend_names(settings)]
    ready = readiness(settings, manifests)
    able = [
        row for row in manifests if (row.name in ready.with_key or not row.api_key_env) and row.name in ready.installed
    ]
    found = [
        wire.Model(
            id=model.id,
            created=0,
            owned_by=manifest.name,
            shutdown_date=None if model.retires is None else model.retires.isoformat(),
        )
        for manifest in able
        for model in manifest.models
        if not model.retired(today)
    ]
    names = {row.name for row in able}
    if "local" in names:
        weights = load_models().weights.items()
        found += [wire.Model(id=name, created=0, owned_by="local") for name, row in weights if row.hub or row.bundled]
    for alias in settings.project.models:
        try:
            where = route(alias, settings)
        except (ModelNotOfferedError, ConfigError):
            continue
        if where.backend is None or where.backend in names:
            found.append(wire.Model(id=alias, created=0, owned_by=where.backend or ORGANIZATION))
    return found


def _tuned_models(gateway: Gateway) -> list[wire.Model]:
    return [
        wire.Model(id=name_told(asked or upstream, upstream), created=unix(made), owned_by=ORGANIZATION)
        for asked, upstream, made in gateway.store.models_made()
    ]
