"""From OpenAI's request to a job: refused at once where that needs nobody, the rest behind the client's back."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any

from tuneport.backends import backend_names, manifest_of
from tuneport.errors import ModelNotOfferedError, ProviderError, StorageError, TuneportError
from tuneport.jobs.leases import is_gone, new_owner
from tuneport.jobs.planning import readiness
from tuneport.jobs.tables import JobRequestRow, JobRow, UploadedFileRow
from tuneport.jobs.uploaded import new_id
from tuneport.manifests import load_models, resolve_model
from tuneport.serve.errors import Refusal, refusal_of
from tuneport.serve.gateway import Gateway
from tuneport.serve.wire import CreateJob, MethodAsked
from tuneport.settings import Settings
from tuneport.types import Hyperparameters, Method, TuneSpec, validated

log = logging.getLogger(__name__)

METHODS = {"supervised": Method.SFT, "dpo": Method.DPO, "reinforcement": Method.RFT}
ORGANIZATION = "tuneport"
NOBODY = "any backend"


@dataclass(frozen=True)
class Route:
    """Where a model's name leads: a backend, or None where the router is to choose; and the model's name there."""

    backend: str | None
    model: str


def route(name: str, settings: Settings) -> Route:
    """`backend/model`; else TUNEPORT_BACKEND; else the one backend of an alias, or the only one that is ready and has
    it; else the router chooses. ModelNotOfferedError where nobody has the model."""
    names = backend_names(settings)
    prefix, _, rest = name.partition("/")
    if rest and prefix in names and settings.aliases(name) is None:
        return Route(prefix, _resolved(rest, prefix, settings))
    if settings.backend is not None:
        return Route(settings.backend, _resolved(name, settings.backend, settings))
    manifests = [manifest_of(other, settings) for other in names]
    ready = readiness(settings, manifests)
    offering = {}
    for manifest in manifests:
        try:
            offering[manifest.name] = resolve_model(
                name, manifest.name, manifest, load_models(), settings.aliases(name)
            )
        except ModelNotOfferedError:
            continue
    # Local takes every name for one on the hub: what others list by name, it gets only when it is named itself.
    named = {other: model for other, model in offering.items() if _lists(other, model, name, settings)}
    able = [
        other for other in named or offering if other in ready.with_key or not manifest_of(other, settings).api_key_env
    ]
    if not offering:
        raise ModelNotOfferedError(
            f"no backend offers {name!r}; put a line into tuneport.toml that says what stands in for it: "
            f'[models."{name}"] local = "smollm2-135m-instruct", or serve --map {name}=WEIGHTS',
            model=name,
            backend=NOBODY,
        )
    return Route(able[0] if len(able) == 1 else None, name)


def _resolved(name: str, backend: str, settings: Settings) -> str:
    resolve_model(name, backend, manifest_of(backend, settings), load_models(), settings.aliases(name))
    return name


def _lists(backend: str, model: str, name: str, settings: Settings) -> bool:
    aliases = settings.aliases(name) or {}
    listed = {row.id for row in manifest_of(backend, settings).models}
    return backend in aliases or model in listed or load_models().name_of(backend, model) is not None


def create(gateway: Gateway, asked: CreateJob, *, key: str | None) -> JobRequestRow:
    """Refuse what can be refused without a provider; write the request down; return. The rest is `take`'s."""
    training = _training_file(gateway, asked.training_file, "training_file")
    validation = None
    if asked.validation_file is not None:
        validation = _training_file(gateway, asked.validation_file, "validation_file")
    where = route(_continued(gateway, asked.model) or asked.model, gateway.settings)
    body = asked.model_dump(mode="json", exclude_none=True) | {
        "training_sha256": training.sha256,
        "validation_sha256": None if validation is None else validation.sha256,
    }
    spec = spec_of(gateway, body)
    if where.backend is not None:
        opened = gateway.workspace.backend(where.backend)
        manifest = opened.manifest
        model = resolve_model(
            where.model, where.backend, manifest, load_models(), gateway.settings.aliases(where.model)
        )
        opened.check(spec.model_copy(update={"model": model, "from_checkpoint": None}))
    job_id = new_id("ftjob-")
    return gateway.store.add_request(
        job_id, body, backend=where.backend, tuned_model=tuned_name(asked, job_id), key=key
    )


def tuned_name(asked: CreateJob, job_id: str) -> str:
    """`ft:BASE:ORGANIZATION:SUFFIX:CODE`, as OpenAI names what a job has made."""
    base = asked.model.split(":")[1] if asked.model.startswith("ft:") and asked.model.count(":") >= 2 else asked.model
    return f"ft:{base}:{ORGANIZATION}:{asked.suffix or ''}:{job_id[-8:]}"


def spec_of(gateway: Gateway, body: dict[str, Any]) -> TuneSpec:
    """ConfigError names the parameter that is refused."""
    method = MethodAsked.model_validate(body["method"]) if body.get("method") else MethodAsked(type="supervised")
    own = getattr(method, method.type)
    given = {**body.get("hyperparameters", {})}
    if own is not None and own.hyperparameters is not None:
        given |= own.hyperparameters.model_dump(exclude_none=True)
    if "n_epochs" in given:
        given["epochs"] = given.pop("n_epochs")
    if given.get("reasoning_effort") == "default":
        given["reasoning_effort"] = "auto"
    integrations = body.get("integrations") or []
    if len(integrations) > 1:
        raise Refusal(400, "At most one integration of the type wandb is taken.", param="integrations")
    start = _continued(gateway, body["model"])
    where = route(start or body["model"], gateway.settings)
    return validated(
        TuneSpec,
        {
            "model": where.model,
            "dataset": gateway.contents.path(body["training_sha256"]),
            "validation": None
            if body.get("validation_sha256") is None
            else gateway.contents.path(body["validation_sha256"]),
            "method": METHODS[method.type],
            "grader": method.reinforcement.grader if method.reinforcement else None,
            "hyperparameters": validated(Hyperparameters, given),
            "suffix": body.get("suffix"),
            "seed": body.get("seed"),
            "metadata": body.get("metadata") or {},
            "wandb": integrations[0]["wandb"] if integrations else None,
            "from_checkpoint": None if start is None else _origin(gateway, body["model"]),
        },
    )


def _continued(gateway: Gateway, model: str) -> str | None:
    """Of a tuned model of ours, the base that its job was asked for by; None of any other name."""
    request = gateway.store.request_of_model(model)
    return None if request is None else str(request.body["model"])


def _origin(gateway: Gateway, model: str) -> str:
    request = gateway.store.request_of_model(model)
    row = None if request is None else gateway.store.jobs_by_id([request.id]).get(request.id)
    if request is None or row is None or row.tuned_model is None or row.deleted_at is not None:
        raise Refusal(400, f"The model {model} does not exist, or not yet.", param="model", code="model_not_found")
    return request.id


def _training_file(gateway: Gateway, file_id: str, param: str) -> UploadedFileRow:
    row = gateway.store.uploaded(file_id)
    if row is None:
        raise Refusal(400, f"invalid {param}: {file_id}", param=param, code="file_not_found")
    if row.purpose != "fine-tune":
        raise Refusal(400, f"File '{file_id}' does not have purpose 'fine-tune'.", param=param)
    if not gateway.contents.has(row.sha256):
        raise Refusal(400, f"The content of {file_id} is gone from the gateway's disk; upload it again.", param=param)
    return row


# --- behind the client's back ----------------------------------------------------------------------------------------


def take_all(gateway: Gateway) -> None:
    """Make jobs of the requests that nobody is at, oldest first."""
    while not gateway.stopping:
        gone = tuple(holder for holder in gateway.store.request_holders() if is_gone(holder))
        owner = new_owner()
        request = gateway.store.take_request(owner, gone=gone)
        if request is None:
            return
        take(gateway, request, owner)


def take(gateway: Gateway, request: JobRequestRow, owner: str) -> None:
    """Read, judge and convert the data, and write the job's row. What is refused now fails the job, as at OpenAI."""
    store = gateway.store
    try:
        spec = spec_of(gateway, request.body)
        row: JobRow = gateway.workspace.submit(
            spec,
            backend=request.backend,
            allow_personal_data=gateway.allow_personal_data,
            job_id=request.id,
            created_at=request.created_at,
        )
    except (Refusal, TuneportError) as error:
        passing = isinstance(error, StorageError) or (isinstance(error, ProviderError) and error.retryable)
        if passing:
            store.release_request(request.id, owner)
            raise
        refusal = error if isinstance(error, Refusal) else refusal_of(error)
        told = {"code": refusal.code or "invalid_request", "message": refusal.message, "param": refusal.param}
        store.settle_request(request.id, "failed", error=told)
        return
    except Exception:
        log.exception("%s could not be made a job", request.id)
        told = {"code": "internal_error", "message": "tuneport failed; its log has the traceback", "param": None}
        store.settle_request(request.id, "failed", error=told)
        return
    if not store.settle_request(request.id, "taken") and (now := store.job_request(request.id)) is not None:
        if now.state == "cancelled":  # by the client, while the data was read
            store.request_cancel(row.id)
