"""From OpenAI's request to a job: refused at once where that needs nobody, the rest behind the client's back."""

from __future__ import annotations

import logging
import os
import re
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from tuneport.backends import backend_names, manifest_of
from tuneport.backends.hops import having_come_by, hops
from tuneport.backends.openai_request import TOKEN_KEY
from tuneport.data.prepare import method_of
from tuneport.errors import DatasetError, ModelNotOfferedError, ProviderError, StorageError, TuneportError
from tuneport.jobs.asking import asking
from tuneport.jobs.contents import ContentGoneError
from tuneport.jobs.database import StoreUnavailableError
from tuneport.jobs.leases import is_gone, new_owner
from tuneport.jobs.planning import readiness
from tuneport.jobs.requests import HELD_SECONDS, Claim, ClaimLostError
from tuneport.jobs.tables import JobRequestRow, UploadedFileRow
from tuneport.jobs.uploaded import new_id
from tuneport.manifests import load_models, resolve_model
from tuneport.serve.errors import Refusal, refusal_of
from tuneport.serve.gateway import Gateway
from tuneport.serve.reach import is_kept_from
from tuneport.serve.wire import CreateJob, MethodAsked
from tuneport.serve.wire.own import SubmitJob
from tuneport.settings import Settings
from tuneport.types import Hyperparameters, Method, TuneSpec, now, validated

log = logging.getLogger(__name__)

METHODS = {"supervised": Method.SFT, "dpo": Method.DPO, "reinforcement": Method.RFT}
ORGANIZATION = "tuneport"
NOBODY = "any backend"
REST_SECONDS = 30.0
"""A request that cannot be made a job now is tried again after so long."""
MISSING_SECONDS = 600.0
"""So long a gateway waits for a content that it does not have: one with another disk may take the request."""


@dataclass(frozen=True)
class Route:
    """Where a model's name leads: a backend, or None where more than one of `able` may do it; its name there."""

    backend: str | None
    model: str
    able: tuple[str, ...] = ()


def route(name: str, settings: Settings) -> Route:
    """`backend/model`; else TUNEPORT_BACKEND; else the one backend of an alias, or the only one that is ready and has
    it; else the router chooses. ModelNotOfferedError where nobody has the model.

    A client's name is never a path: only whoever runs the gateway names folders, in `tuneport.toml` or by `--map`.
    """
    names = backend_names(settings)
    refuse_path(name, settings)
    prefix, _, rest = name.partition("/")
    if rest and prefix in names and settings.aliases(name) is None:
        if _is_path(rest):
            raise _nobody(name)
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
    if not offering:
        raise _nobody(name)
    # Local takes every name for one on the hub: what others list by name, it gets only when it is named itself.
    named = {other: model for other, model in offering.items() if _lists(other, model, name, settings)}
    able = tuple(
        manifest.name
        for manifest in manifests
        if manifest.name in (named or offering)
        and (manifest.name in ready.with_key or not manifest.api_key_env)
        and manifest.name in ready.installed
        and manifest.name not in ready.without_address
    )
    return Route(able[0] if len(able) == 1 else None, name, able)


def refuse_path(name: str, settings: Settings) -> None:
    """ModelNotOfferedError for what would name a folder of this machine."""
    if settings.aliases(name) is None and _is_path(name):
        raise _nobody(name)


def _nobody(name: str) -> ModelNotOfferedError:
    return ModelNotOfferedError(
        f"no backend offers {name!r}; put a line into tuneport.toml that says what stands in for it: "
        f'[models."{name}"] local = "smollm2-135m-instruct", or serve --map {name}=WEIGHTS',
        model=name,
        backend=NOBODY,
    )


def _is_path(name: str) -> bool:
    # `Path.exists` raises for a name that is longer than the file system takes.
    return name.startswith(("/", "~", ".")) or "\\" in name or ".." in name or os.path.exists(name)


def _resolved(name: str, backend: str, settings: Settings) -> str:
    resolve_model(name, backend, manifest_of(backend, settings), load_models(), settings.aliases(name))
    return name


def _lists(backend: str, model: str, name: str, settings: Settings) -> bool:
    aliases = settings.aliases(name) or {}
    listed = {row.id for row in manifest_of(backend, settings).models}
    return backend in aliases or model in listed or load_models().name_of(backend, model) is not None


def create(gateway: Gateway, asked: CreateJob, *, key: str | None, budget: float | None = None) -> JobRequestRow:
    """Refuse what can be refused without a provider; write the request down; return. The rest is `take`'s."""
    asked_for = asked.model_dump(mode="json", exclude_none=True)
    if budget is not None:
        asked_for["budget"] = budget  # US dollars; no client of OpenAI's API can ask for it
    return _create(gateway, asked, asked_for, key)


_SAID_ALIKE = ("model", "training_file", "validation_file", "suffix", "seed", "metadata")
_AS_OPENAI = {"dpo": "dpo", "rft": "reinforcement"}
"""Methods that OpenAI has no word for are shown to its clients as supervised ones."""


def create_own(gateway: Gateway, asked: SubmitJob, *, key: str | None) -> JobRequestRow:
    """The same for what is asked in tuneport's words: what OpenAI's have no place for lies under `tuneport`."""
    given = asked.model_dump(mode="json", exclude_none=True)
    own = {name: value for name, value in given.items() if name not in _SAID_ALIKE}
    if asked.cancel_over_budget and asked.budget is None:
        raise Refusal(400, "'cancel_over_budget' needs a 'budget'.", param="cancel_over_budget", code="invalid_value")
    if asked.stop_on_overfit and asked.validation_file is None:
        raise Refusal(
            400, "'stop_on_overfit' needs a 'validation_file'.", param="stop_on_overfit", code="invalid_value"
        )
    body = {name: value for name, value in given.items() if name in _SAID_ALIKE}
    if "method" not in own:
        row = training_file(gateway, asked.training_file, "training_file")
        own["method"] = _method_of(gateway, row, asked.columns)
    for name, told in (("from_checkpoint", asked.from_checkpoint), ("reward", asked.reward)):
        if told is not None and not gateway.store.jobs_by_id([told.partition(":")[0]]):
            # Neither a path nor a function of this machine is for clients to name.
            raise Refusal(400, f"'{name}' names no job of this gateway: {told}.", param=name, code="invalid_value")
    for name, value in asked.provider_options.items():
        if isinstance(value, str) and (_is_path(value) or "/" in value):
            raise Refusal(400, f"'{name}' is a path; clients name none.", param=f"provider_options.{name}")
    shown = shown_method(own["method"], asked.hyperparameters, asked.grader)
    return _create(gateway, asked, body | {"method": shown, "tuneport": own}, key)


def shown_method(method: str, hyperparameters: Mapping[str, Any], grader: Any) -> dict[str, Any]:
    """A method of ours in OpenAI's words."""
    kind = _AS_OPENAI.get(method, "supervised")
    told: dict[str, Any] = {} if grader is None else {"grader": grader}
    told["hyperparameters"] = {
        name: hyperparameters[ours]
        for name, ours in (("n_epochs", "epochs"), ("batch_size", "batch_size"))
        if isinstance(hyperparameters.get(ours), (int, float))
    }
    return {"type": kind, kind: told}


def _method_of(gateway: Gateway, row: UploadedFileRow, columns: Mapping[str, str]) -> str:
    try:
        return method_of(gateway.contents.fetch(row.sha256), columns=columns).value
    except (DatasetError, ContentGoneError) as error:
        raise file_refusal(error, {row.sha256: row.id}) from error


def file_refusal(error: TuneportError, ids: Mapping[str, str]) -> Refusal:
    """A message about files names them by their ids, not by where their contents lie."""
    refusal = refusal_of(error)
    refusal.message = by_ids(refusal.message, ids)
    return refusal


def by_ids(text: str, ids: Mapping[str, str]) -> str:
    for sha256, file_id in ids.items():
        text = re.sub(rf"(?:[^\s'\"]*/)?{sha256}\.jsonl", file_id, text)
    return text


def _create(
    gateway: Gateway, asked: CreateJob | SubmitJob, asked_for: dict[str, Any], key: str | None
) -> JobRequestRow:
    if key is not None and (there := gateway.store.request_of_key(key)) is not None:
        return _the_same(there, asked_for)
    _refuse_nul(asked_for)
    training = training_file(gateway, asked.training_file, "training_file")
    validation = None
    if asked.validation_file is not None:
        validation = training_file(gateway, asked.validation_file, "validation_file")
    body = asked_for | {
        "training_sha256": training.sha256,
        "validation_sha256": None if validation is None else validation.sha256,
    }
    if hops():
        body["hops"] = list(hops())
    who = asking()
    gateway.limits.job(who.token_id, who.address)
    start = _start(gateway, asked.model, asked.backend if isinstance(asked, SubmitJob) else None)
    spec = spec_of(gateway, body)
    if start.backend is not None:
        opened = gateway.workspace.backend(start.backend)
        model = resolve_model(
            start.model, start.backend, opened.manifest, load_models(), gateway.settings.aliases(start.model)
        )
        opened.check(spec.model_copy(update={"model": model, "from_checkpoint": None}))
    job_id = new_id("ftjob-")
    with gateway.contents.locked():  # nobody removes the contents before the request needs them
        for file_id, param in ((asked.training_file, "training_file"), (asked.validation_file, "validation_file")):
            if file_id is not None:
                training_file(gateway, file_id, param)
        request = gateway.store.add_request(
            job_id, body, backend=start.backend, tuned_model=tuned_name(asked, job_id), key=key
        )
    return request if request.id == job_id else _the_same(request, asked_for)


def _refuse_nul(value: Any, param: str = "") -> None:
    """PostgreSQL stores one within JSON, and then answers no question about that column any more, whoever asks."""
    if isinstance(value, str) and "\0" in value:
        message = f"Invalid value for '{param}': it has a NUL character, which no store takes."
        raise Refusal(400, message, param=param, code="invalid_value")
    if isinstance(value, Mapping):
        for name, inner in value.items():
            path = f"{param}.{name}" if param else name
            _refuse_nul(name, path)
            _refuse_nul(inner, path)
    elif isinstance(value, list):
        for number, inner in enumerate(value):
            _refuse_nul(inner, f"{param}[{number}]")


def _the_same(request: JobRequestRow, asked_for: dict[str, Any]) -> JobRequestRow:
    """What was asked for with that idempotency key before."""
    ours = ("training_sha256", "validation_sha256", "hops")
    if {name: value for name, value in request.body.items() if name not in ours} != asked_for:
        raise Refusal(409, f"This Idempotency-Key was sent with another request before, for {request.id}.")
    return request


@dataclass(frozen=True)
class Start:
    """What is trained on: a base model by its route, or with `job` what one of our jobs has made of it, where it is."""

    backend: str | None
    model: str
    job: str | None = None


def _start(gateway: Gateway, name: str, backend: str | None = None) -> Start:
    """`backend`: where the client wants it, whatever else has the model."""
    store = gateway.store
    request = store.request_of_model(name)
    row = store.job_of_model(name) if request is None else store.jobs_by_id([request.id]).get(request.id)
    if request is None and backend is not None:
        refuse_path(name, gateway.settings)
        return Start(backend, _resolved(name, backend, gateway.settings))
    if request is None and row is None:
        if is_kept_from(gateway, name):
            raise _nobody(name)
        where = route(name, gateway.settings)
        return Start(where.backend, where.model)
    if row is None or row.tuned_model is None or row.deleted_at is not None:
        raise Refusal(400, f"The model {name} does not exist, or not yet.", param="model", code="model_not_found")
    return Start(row.backend, row.model, row.id)


def tuned_name(asked: CreateJob | SubmitJob, job_id: str) -> str:
    """`ft:BASE:ORGANIZATION:SUFFIX:CODE`, as OpenAI names what a job has made."""
    base = asked.model.split(":")[1] if asked.model.startswith("ft:") and asked.model.count(":") >= 2 else asked.model
    return f"ft:{base}:{ORGANIZATION}:{asked.suffix or ''}:{job_id[-8:]}"


def spec_of(gateway: Gateway, body: dict[str, Any]) -> TuneSpec:
    """ConfigError names the parameter that is refused."""
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
        raise Refusal(400, "At most one integration of the type wandb is taken.", param="integrations")
    start = _start(gateway, body["model"])
    return validated(
        TuneSpec,
        {
            "model": start.model,
            "dataset": gateway.contents.path(body["training_sha256"]),
            "validation": None
            if body.get("validation_sha256") is None
            else gateway.contents.path(body["validation_sha256"]),
            "method": METHODS[method.type],
            "grader": method.reinforcement.grader.model_dump(exclude_unset=True) if method.reinforcement else None,
            "hyperparameters": validated(Hyperparameters, given),
            "suffix": body.get("suffix"),
            "seed": body.get("seed"),
            "metadata": _metadata(body),
            "wandb": integrations[0]["wandb"] if integrations else None,
            "budget": body.get("budget"),
            "from_checkpoint": start.job,
        },
    )


def _metadata(body: dict[str, Any]) -> dict[str, str]:
    """What goes with the job to its backend. Another tuneport's token stays here, where that one asks for it: the
    backend gets our own."""
    return {name: value for name, value in (body.get("metadata") or {}).items() if name != TOKEN_KEY}


def _own_spec(gateway: Gateway, body: dict[str, Any]) -> TuneSpec:
    own = body["tuneport"]
    start = _start(gateway, body["model"], own.get("backend"))
    held_out = body.get("validation_sha256")
    return validated(
        TuneSpec,
        {
            "model": start.model,
            "dataset": gateway.contents.path(body["training_sha256"]),
            "validation": None if held_out is None else gateway.contents.path(held_out),
            "hyperparameters": validated(Hyperparameters, own["hyperparameters"]),
            "suffix": body.get("suffix"),
            "seed": body.get("seed"),
            "metadata": _metadata(body),
            "wandb": None if own.get("wandb") is None else {"project": own["wandb"]},
            "from_checkpoint": own.get("from_checkpoint", start.job),
        }
        | {
            name: own[name]
            for name in ("method", "adapter", "columns", "grader", "reward", "budget", "provider_options")
            if name in own
        },
    )


def training_file(gateway: Gateway, file_id: str, param: str) -> UploadedFileRow:
    row = gateway.store.uploaded(file_id)
    if row is None:
        raise Refusal(400, f"invalid {param}: {file_id}", param=param, code="file_not_found")
    if row.purpose != "fine-tune":
        raise Refusal(400, f"File '{file_id}' does not have purpose 'fine-tune'.", param=param)
    if not gateway.contents.has(row.sha256):
        raise Refusal(400, f"The content of {file_id} is gone from the gateway; upload it again.", param=param)
    return row


# --- behind the client's back ----------------------------------------------------------------------------------------


def take_all(gateway: Gateway) -> None:
    """Make jobs of the requests that nobody is at, oldest first. One that cannot be made now keeps nobody waiting."""
    while not gateway.stopping:
        gone = tuple(holder for holder in gateway.store.request_holders() if is_gone(holder))
        owner = new_owner()
        request = gateway.store.take_request(owner, gone=gone)
        if request is None:
            return
        with _kept(gateway, request.id, owner), having_come_by(request.body.get("hops", ())):
            take(gateway, request, owner)


@contextmanager
def _kept(gateway: Gateway, job_id: str, owner: str) -> Iterator[None]:
    """Renew the hold while the data is read, however large it is."""
    done = threading.Event()

    def renew() -> None:
        while not done.wait(HELD_SECONDS / 4):
            try:
                if not gateway.store.renew_request(job_id, owner):
                    return
            except StoreUnavailableError:
                continue

    thread = threading.Thread(target=renew, name=f"hold-{job_id}", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def take(gateway: Gateway, request: JobRequestRow, owner: str) -> None:
    """Read, judge and convert the data, and write the job's row. What is refused now fails the job, as at OpenAI."""
    store = gateway.store
    hashes = (request.body["training_sha256"], request.body.get("validation_sha256"))
    try:
        missing = [sha256 for sha256 in hashes if sha256 is not None and not gateway.contents.has(sha256)]
        if missing and now() - request.created_at < timedelta(seconds=MISSING_SECONDS):
            store.rest_request(request.id, owner, seconds=REST_SECONDS)  # another gateway on this store may have it
            return
        if missing:
            raise Refusal(400, "The file's content is gone from the gateway; upload it again.")
        for sha256 in hashes:
            if sha256 is not None:
                gateway.contents.fetch(sha256)
        gateway.workspace.submit(
            spec_of(gateway, request.body),
            backend=request.backend,
            allow_personal_data=gateway.allow_personal_data,
            delete_files=(request.body.get("tuneport") or {}).get("delete_files"),
            cancel_over_budget=(request.body.get("tuneport") or {}).get("cancel_over_budget", False),
            stop_on_overfit=(request.body.get("tuneport") or {}).get("stop_on_overfit", False),
            claim=Claim(request.id, owner, request.created_at, request.project),
        )
        gateway.nudge()
    except ClaimLostError as error:  # by the client's cancel, or to another gateway
        log.info("%s", error)
    except (Refusal, TuneportError) as error:
        if isinstance(error, StorageError) or (isinstance(error, ProviderError) and error.retryable):
            log.warning("%s waits: %s", request.id, error)
            store.rest_request(request.id, owner, seconds=REST_SECONDS)
            return
        refusal = error if isinstance(error, Refusal) else refusal_of(error)
        told = {"code": refusal.code or "invalid_request", "message": refusal.message, "param": refusal.param}
        store.refuse_request(request.id, owner, told)
    except Exception:
        log.exception("%s could not be made a job", request.id)
        told = {"code": "internal_error", "message": "tuneport failed; its log has the traceback", "param": None}
        store.refuse_request(request.id, owner, told)
