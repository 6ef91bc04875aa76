"""The routes /v1/models: base models under the names for tuning and chats, and tuned models."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

from fastapi import APIRouter

from tuneport.backends import backend_manifest, backend_names
from tuneport.errors import ConfigError, ModelNotOfferedError
from tuneport.lifecycle.job_view import job_tuned_model_name
from tuneport.lifecycle.planning.planning import find_job_backend_readiness
from tuneport.lifecycle.schema.records import JobRecord
from tuneport.manifests import load_models
from tuneport.serve import wire
from tuneport.serve.documents.openai_words import ORGANIZATION, openai_document_timestamp
from tuneport.serve.gateway import Gateway
from tuneport.serve.http.errors import Refusal, gateway_not_found_refusal
from tuneport.serve.http.queries import StrictRoute
from tuneport.serve.jobs.model_access import CHECKPOINT, is_hidden_from_caller
from tuneport.serve.naming import route_client_model
from tuneport.types import JobStatus


@dataclass(frozen=True)
class RequestedTunedModel:
    """A tuned model of a job, or, with `step`, its checkpoint after that step."""

    row: JobRecord
    step: int | None = None


def find_requested_tuned_model(gateway: Gateway, name: str) -> RequestedTunedModel | None:
    """Return the job behind a model name, in any state. Returns None if no job has that name."""
    plain, _, step = name.partition(CHECKPOINT)
    request = gateway.store.models.find_request(plain)
    row = None if request is None else gateway.store.jobs.by_ids([request.id]).get(request.id)
    if request is None:
        row = gateway.store.models.find_job(name) or (gateway.store.models.find_job(plain) if step else None)
    if row is None or (step and not step.isdecimal()):
        return None
    return RequestedTunedModel(row, int(step) if step else None)


def router(gateway: Gateway) -> APIRouter:
    routes = APIRouter(prefix="/v1", tags=["Models"], route_class=StrictRoute)

    @routes.get("/models", response_model=wire.ModelList, response_model_exclude_none=True)
    def list_models() -> wire.ModelList:
        """List the base models of the configured backends, their aliases, and tuned models."""
        found = {model.id: model for model in [*_base_models(gateway), *_tuned_models(gateway)]}
        return wire.ModelList(data=list(found.values()))

    @routes.get("/models/{model:path}", response_model=wire.Model, response_model_exclude_none=True)
    def retrieve_model(model: str) -> wire.Model:
        tuned = find_requested_tuned_model(gateway, model)
        if tuned is not None and tuned.row.deleted_at is None:
            if tuned.step is not None:
                return wire.Model(
                    id=model, created=openai_document_timestamp(tuned.row.created_at), owned_by=ORGANIZATION
                )
            if tuned.row.job_status is JobStatus.SUCCEEDED:
                made = tuned.row.finished_at or tuned.row.created_at
                return wire.Model(id=model, created=openai_document_timestamp(made), owned_by=ORGANIZATION)
        known = next((row for row in _base_models(gateway) if row.id == model), None)
        if known is not None:
            return known
        try:
            found = (
                None
                if model.startswith("ft:") or is_hidden_from_caller(gateway, model)
                else route_client_model(model, gateway.settings)
            )
        except (ModelNotOfferedError, ConfigError):
            found = None
        if found is None:
            raise gateway_not_found_refusal(f"The model '{model}' does not exist", "model", "model_not_found")
        return wire.Model(id=model, created=0, owned_by=found.backend or ORGANIZATION)

    @routes.delete("/models/{model:path}", response_model=wire.DeletedModel)
    def delete_model(model: str) -> wire.DeletedModel:
        """Delete a tuned model at its backend, for good. A model that was already deleted gives the same answer,
        without an error."""
        tuned = find_requested_tuned_model(gateway, model)
        if tuned is None or tuned.step is not None:
            raise gateway_not_found_refusal(
                f"The model '{model}' does not exist, or is not yours", "model", "model_not_found"
            )
        if tuned.row.job_status is not JobStatus.SUCCEEDED:
            raise Refusal(400, f"The job {tuned.row.id} has no tuned model.", param="model", code="invalid_value")
        gateway.workspace.delete(tuned.row.id)
        return wire.DeletedModel(id=model, deleted=True)

    return routes


def _base_models(gateway: Gateway) -> list[wire.Model]:
    settings, today = gateway.settings, date.today()
    manifests = [backend_manifest(name, settings) for name in backend_names(settings)]
    ready = find_job_backend_readiness(settings, manifests)
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
            where = route_client_model(alias, settings)
        except (ModelNotOfferedError, ConfigError):
            continue
        if where.backend is None or where.backend in names:
            found.append(wire.Model(id=alias, created=0, owned_by=where.backend or ORGANIZATION))
    return found


def _tuned_models(gateway: Gateway) -> list[wire.Model]:
    return [
        wire.Model(
            id=job_tuned_model_name(asked or upstream, upstream),
            created=openai_document_timestamp(made),
            owned_by=ORGANIZATION,
        )
        for asked, upstream, made in gateway.store.models.list_tuned_models()
    ]
