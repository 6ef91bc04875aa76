"""The `TuneSpec` of a client's request, with only what clients may set."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tuneport.backends import backend_manifest
from tuneport.backends.openai.request import TOKEN_KEY
from tuneport.backends.routing import BackendOffers
from tuneport.data.rows.reading_options import READING_FIELDS
from tuneport.serve.gateway import Gateway
from tuneport.serve.http.errors import Refusal
from tuneport.serve.jobs.model_access import is_hidden_from_caller
from tuneport.serve.naming import ClientCatalogue, client_model_not_offered, route_client_model
from tuneport.serve.permitted import client_grader_has_code, refuse_operator_options
from tuneport.serve.wire import MethodAsked
from tuneport.settings import Settings
from tuneport.types import Hyperparameters, Method, TuneSpec
from tuneport.validation import parse_or_config_error

if TYPE_CHECKING:
    from tuneport.backends.base import FineTuneBackend

_AT_OPENAI = {"wandb": "integrations", "grader": "method.reinforcement.grader"}
"""Names of our parameters in OpenAI's document."""
_RUNS_CODE = "run_grader_code"


@dataclass(frozen=True)
class RequestedStart:
    """The start of a training: a base model by its route, or, with `job`, the tuned model of one of our jobs at its
    backend."""

    backend: str | None
    model: str
    job: str | None = None


def route_client_start(gateway: Gateway, name: str, backend: str | None = None) -> RequestedStart:
    """Return where training starts from. `backend` is the client's choice, even if others have the model."""
    store = gateway.store
    request = store.models.find_request(name)
    row = store.models.find_job(name) if request is None else store.jobs.by_ids([request.id]).get(request.id)
    if request is None and backend is not None:
        ClientCatalogue(gateway.settings).resolve_model(name, backend)  # refused now, if at all
        return RequestedStart(backend, name)
    if request is None and row is None:
        if is_hidden_from_caller(gateway, name):
            raise client_model_not_offered(name)
        where = route_client_model(name, gateway.settings)
        _refuse_unnamed_third_party(name, where, gateway.settings)
        return RequestedStart(where.backend, where.model)
    if row is None or row.tuned_model is None or row.deleted_at is not None:
        raise Refusal(400, f"The model {name} does not exist, or not yet.", param="model", code="model_not_found")
    return RequestedStart(row.backend, row.model, row.id)


def _refuse_unnamed_third_party(name: str, where: BackendOffers, settings: Settings) -> None:
    """Raise Refusal if only third parties have the model and neither the client nor the operator names one. Where this
    machine has it, too, the job is made for it."""
    if where.named or len(settings.aliases(where.model) or ()) == 1:
        return
    third = [other for other in where.usable if backend_manifest(other, settings).third_party]
    if third and len(third) == len(where.usable):
        raise Refusal(
            400,
            f"No backend was named for {name}, and those that have it are third parties: {', '.join(third)}. Name one, "
            f"as {third[0]}/{name}, or let the operator of this gateway set TUNEPORT_BACKEND.",
            param="model",
            code="backend_not_named",
        )


def build_permitted_spec(
    gateway: Gateway, body: Mapping[str, Any], spec: TuneSpec, backend: FineTuneBackend | None
) -> TuneSpec:
    """Return the spec. Raises Refusal if a client may not ask for it (`refuse_operator_options`); the parameter is
    named as the client wrote it.

    A grader's code that the operator lets clients send gets the option that runs it on this machine, in the sandbox.
    The operator's limit for one job is the budget of those that have none, or a higher one.
    """
    most = gateway.settings.project.gateway.job_budget
    if most is not None:
        spec = spec.model_copy(update={"budget": most if spec.budget is None else min(most, spec.budget)})
    try:
        refuse_operator_options(spec, backend, gateway.settings.project.gateway.client_options)
    except Refusal as refusal:
        if "tuneport" not in body:
            refusal.param = _AT_OPENAI.get(str(refusal.param), refusal.param)
        raise
    if backend is None or not client_grader_has_code(spec.grader) or _RUNS_CODE not in backend.client_rules():
        return spec
    return spec.model_copy(update={"provider_options": {**spec.provider_options, _RUNS_CODE: True}})


def build_client_requested_spec(gateway: Gateway, body: dict[str, Any]) -> TuneSpec:
    """Return the spec of a request's body. Raises ConfigError that names the refused parameter."""
    if "tuneport" in body:
        return _own_spec(gateway, body)
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
        raise Refusal(400, "At most one integration of the type wandb is accepted.", param="integrations")
    start = route_client_start(gateway, body["model"])
    return parse_or_config_error(
        TuneSpec,
        {
            "model": start.model,
            "dataset": gateway.contents.path(body["training_sha256"]),
            "validation": None
            if body.get("validation_sha256") is None
            else gateway.contents.path(body["validation_sha256"]),
            "method": Method.of_openai(method.type),
            "grader": method.reinforcement.grader.model_dump(exclude_unset=True) if method.reinforcement else None,
            "hyperparameters": parse_or_config_error(Hyperparameters, given),
            # OpenAI's API defines what `auto` is: a program that was written for it goes on getting that there.
            "provider_defaults": "auto",
            "suffix": body.get("suffix"),
            "seed": body.get("seed"),
            "metadata": _metadata(body),
            "wandb": integrations[0]["wandb"] if integrations else None,
            "budget": body.get("budget"),
            "from_checkpoint": start.job,
        },
    )


def _metadata(body: dict[str, Any]) -> dict[str, str]:
    """Return the metadata for the job's backend. Another tuneport's token is left out; the backend gets our own."""
    return {name: value for name, value in (body.get("metadata") or {}).items() if name != TOKEN_KEY}


def _own_spec(gateway: Gateway, body: dict[str, Any]) -> TuneSpec:
    own = body["tuneport"]
    start = route_client_start(gateway, body["model"], own.get("backend"))
    held_out = body.get("validation_sha256")
    return parse_or_config_error(
        TuneSpec,
        {
            "model": start.model,
            "dataset": gateway.contents.path(body["training_sha256"]),
            "validation": None if held_out is None else gateway.contents.path(held_out),
            "hyperparameters": parse_or_config_error(Hyperparameters, own["hyperparameters"]),
            "suffix": body.get("suffix"),
            "seed": body.get("seed"),
            "metadata": _metadata(body),
            "wandb": None if own.get("wandb") is None else {"project": own["wandb"]},
            "from_checkpoint": own.get("from_checkpoint", start.job),
        }
        | {
            name: own[name]
            for name in (
                "method",
                "adapter",
                "grader",
                "reward",
                "budget",
                "provider_options",
                "provider_defaults",
                *READING_FIELDS,
            )
            if name in own
        },
    )
