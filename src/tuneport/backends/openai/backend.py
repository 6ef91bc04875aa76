"""OpenAI's fine-tuning API through the official SDK; also Azure's and whatever else speaks it, by manifest and address.

| ours | OpenAI's |
| --- | --- |
| method sft, dpo, rft | method.type supervised, dpo, reinforcement |
| epochs, batch_size, learning_rate_multiplier | n_epochs, batch_size, learning_rate_multiplier |
| beta (dpo) | beta |
| compute_multiplier, eval_interval, eval_samples, reasoning_effort (rft) | the same |
| a hyperparameter that is auto | left out, which is the API's own auto (for reasoning_effort, its default) |
| learning_rate, warmup_ratio, weight_decay, max_length, lora_* | refused unless auto: the API has no word for it |
| adapter | refused unless auto: which weights move is OpenAI's secret |
| grader (rft) | method.reinforcement.grader as it is; `alpha/graders/validate` sees it before anything is uploaded |
| from_checkpoint | model: a tuned model's or checkpoint's name, or what `ftjob-...` or `ftjob-...:STEP` has made |
| suffix, seed, metadata | the same; the token travels as metadata.tuneport_token |
| wandb | integrations |
| provider_options | further fields of the request |
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, ClassVar, TypeVar
from urllib.parse import urlsplit

from tuneport.backends.grader_columns import check_backend_grader_columns
from tuneport.backends.hosted.finding import TOKEN, find_submitted_provider_job
from tuneport.backends.hosted.idempotency import add_idempotency_key, send_idempotency_key
from tuneport.backends.openai.files import OpenAIFileStorage
from tuneport.backends.openai.jobs import (
    add_openai_job_cost,
    parse_openai_base_model,
    parse_openai_checkpoint,
    parse_openai_event_metrics,
    parse_openai_job_event,
    parse_openai_job_state,
    parse_openai_metrics_csv,
    parse_remote_model,
    refuse_other_checkpoint_base,
)
from tuneport.backends.openai.request import (
    HYPERPARAMETERS,
    TOKEN_KEY,
    build_openai_job_request,
    check_openai_spec,
    openai_client_rules,
)
from tuneport.backends.secrets import redact_backend_secrets
from tuneport.client_rules import Rule
from tuneport.errors import (
    ConfigError,
    NotFoundError,
    RejectedError,
    TuneportError,
    UnavailableError,
    UnsupportedError,
)
from tuneport.manifests import Manifest
from tuneport.types import (
    Adapter,
    Auto,
    Checkpoint,
    Completion,
    Found,
    JobEvent,
    JobState,
    JobStatus,
    Method,
    MetricPoint,
    PreparedData,
    RemoteFile,
    RemoteModel,
    TuneSpec,
)

T = TypeVar("T")

_PAGE = 100
_MOST_JOBS = 10_000  # looked through for a token where the server does not filter
_NO_SUCH_CALL = (404, 405, 501)
_LENGTH_REQUIRED = 411
_TRIES = 3


class OpenAIBackend(OpenAIFileStorage):
    statuses: ClassVar[dict[str, JobStatus]] = {
        "validating_files": JobStatus.VALIDATING,
        "queued": JobStatus.QUEUED,
        "running": JobStatus.RUNNING,
        "succeeded": JobStatus.SUCCEEDED,
        "failed": JobStatus.FAILED,
        "cancelled": JobStatus.CANCELLED,
        # `pause` and `resume` exist, though their words are not in the SDK's type; these and the rest are Azure's.
        "pausing": JobStatus.PAUSING,
        "paused": JobStatus.PAUSED,
        "resuming": JobStatus.QUEUED,
        "created": JobStatus.VALIDATING,
        "pending": JobStatus.QUEUED,
        "notrunning": JobStatus.QUEUED,
        "cancelling": JobStatus.CANCELLING,
        "canceled": JobStatus.CANCELLED,
    }

    cost_neutral_options: ClassVar[frozenset[str]] = frozenset({"integrations"})
    at_the_provider: ClassVar[frozenset[str]] = frozenset({"wandb", "python_graders"})

    def _connect(self, key: str) -> Any:
        import httpx2
        import openai

        self.sdk_errors = (openai.OpenAIError,)
        asking: list[Callable[[Any], None]] = [add_idempotency_key]
        if self.manifest.key_header == "api-key":
            asking.append(_own_key_header(key, self.upstream.address))
        account = {header: self.settings.get(variable) for header, variable in self.manifest.account_env.items()}
        headers = {header: value for header, value in account.items() if value}
        client = self._open_client(openai, openai.OpenAI, httpx2, key, headers=headers, asking=asking)
        # The SDK takes what it is not given from the process's environment, which another account may own.
        client.organization = client.project = client.admin_api_key = None
        return client

    # --- starting a job ---------------------------------------------------------------------------------------------

    @classmethod
    def hyperparameter_names(cls, method: Method, adapter: Adapter | Auto) -> Mapping[str, str]:
        return HYPERPARAMETERS.get(method, {}) if adapter == "auto" else {}

    @classmethod
    def describe_options(cls, manifest: Manifest) -> Mapping[str, str]:
        others = {"other names": "passed on unchanged, as a field of the job's request"}
        return {**super().describe_options(manifest), **others}

    def client_rules(self) -> Mapping[str, Rule]:
        return openai_client_rules(self.manifest)

    def check(self, spec: TuneSpec) -> None:
        check_openai_spec(self.manifest, spec)
        start = spec.from_checkpoint
        if start is not None and parse_openai_base_model(start) != start:  # a name that says what it was tuned from
            refuse_other_checkpoint_base(self.manifest, spec, start, parse_openai_base_model(start))
        super().check(spec)

    def prepare(self, spec: TuneSpec, data: PreparedData) -> Iterator[RemoteFile]:
        self.check(spec)
        shown = {"training": spec.dataset, "validation": spec.validation}
        self._refuse_too_large(data, shown)
        if spec.grader is not None:
            for file, source in ((data.training, spec.dataset), (data.validation, spec.validation)):
                if file is not None:
                    check_backend_grader_columns(spec.grader, file, source or file.path)
            self._validate_grader(spec.grader)
        self._model(spec)  # refused now, not after an upload
        yield from super().prepare(spec, data)

    def _validate_grader(self, grader: dict[str, Any]) -> None:
        try:
            self._read(lambda: self.client.fine_tuning.alpha.graders.validate(grader=grader))
        except (NotFoundError, RejectedError) as error:
            if error.http_status not in _NO_SUCH_CALL:  # a server without the call judges it when the job is created
                raise ConfigError(f"the grader is not valid: {error}; correct it") from error

    def _model(self, spec: TuneSpec) -> str:
        """Return the model to train: the base model, or the one behind `from_checkpoint`.

        Raises ConfigError if that was tuned from another model than the spec's, by which price and limits are judged.
        """
        start = spec.from_checkpoint
        if start is None:
            return spec.model
        name, base = self._resolved(start)
        refuse_other_checkpoint_base(self.manifest, spec, start, base)
        return name

    def _resolved(self, start: str) -> tuple[str, str]:
        """Return the name of the model behind `from_checkpoint`, and what it was tuned from (or itself)."""
        if start.startswith("ft:"):
            return start, parse_openai_base_model(start)
        job, _, step = start.rpartition(":") if re.fullmatch(r".+:\d+", start) else (start, "", "")
        try:
            state = self.fetch(job)
        except (NotFoundError, RejectedError):
            if job.startswith("ftjob-"):
                raise
            return start, parse_openai_base_model(start)  # no job: a model's name, as other servers have them
        if not step:
            if state.tuned_model is None:
                raise ConfigError(f"{self.name} has made no model in {job} yet ({state.raw_status}); wait for its end")
            return state.tuned_model, parse_openai_base_model(state.model or state.tuned_model)
        named = {point.step: point.model for point in self.checkpoints(job) if point.model}
        if int(step) not in named:
            known = ", ".join(str(number) for number in named) or "none"
            raise ConfigError(f"{job} has no checkpoint of step {step} at {self.name}; those it has: {known}")
        name = named[int(step)]
        return name, parse_openai_base_model(state.model or name)

    def submit(self, spec: TuneSpec, files: Sequence[RemoteFile], *, token: str) -> JobState:
        self.check(spec)
        sent = False

        def start() -> JobState:
            nonlocal sent
            request = build_openai_job_request(spec, self._model(spec), files, token)
            sent = True
            with send_idempotency_key(token, "/fine_tuning/jobs"):
                state = self._state(self.client.fine_tuning.jobs.create(**request))
            answered = (state.details.get("metadata") or {}).get(TOKEN_KEY)
            if answered and not token.startswith(str(answered)):
                raise UnavailableError(
                    f"{self.name} answered the submit with {state.remote_id}, which carries the token of another job",
                    provider=self.name,
                )
            return state

        return self._start(start, sent=lambda: sent)

    def find(self, token: str) -> Found:
        try:
            return self._find(token)
        except TuneportError as error:
            return Found.unknown(str(error))

    def _find(self, token: str) -> Found:
        """Ask for the jobs with the token; if there is none, look through all of them.

        A server may ignore the filter, or apply it and have dropped the metadata of that very job.
        """
        found = self._found_among(token, metadata={TOKEN_KEY: token})
        return found if found.answer == "found" else self._found_among(token)

    def _found_among(self, token: str, **filter: Any) -> Found:
        pages = self._pages(lambda: self.client.fine_tuning.jobs.list(limit=_PAGE, **filter))
        return find_submitted_provider_job(
            self._states(pages), token, self.mark_of, most=_MOST_JOBS, provider=self.name
        )

    def _states(self, jobs: Iterable[Any]) -> Iterator[JobState]:
        for job in jobs:
            with self._translating():
                state = self._state(job)
            yield redact_backend_secrets(state, self.upstream.secret_pattern)

    def mark_of(self, state: JobState) -> str | None:
        metadata = state.details.get("metadata")
        mark = metadata.get(TOKEN_KEY) if isinstance(metadata, dict) else None
        return mark if isinstance(mark, str) and TOKEN.fullmatch(mark) else None

    # --- a job's life -----------------------------------------------------------------------------------------------

    def _state(self, job: Any) -> JobState:
        return add_openai_job_cost(
            parse_openai_job_state(self.name, self.statuses, job.to_dict(mode="json", warnings=False)), self.manifest
        )

    def fetch(self, remote_id: str) -> JobState:
        return self._read(lambda: self._state(self.client.fine_tuning.jobs.retrieve(remote_id)))

    def cancel(self, remote_id: str) -> JobState:
        return self._cancel(remote_id, lambda: self._order(self.client.fine_tuning.jobs.cancel, remote_id))

    def pause(self, remote_id: str) -> JobState:
        order = self.client.fine_tuning.jobs.pause
        return self._ask(remote_id, "pausing a job", lambda: self._read(lambda: self._order(order, remote_id)))

    def resume(self, remote_id: str) -> JobState:
        order = self.client.fine_tuning.jobs.resume
        return self._ask(remote_id, "resuming a job", lambda: self._read(lambda: self._order(order, remote_id)))

    def _order(self, order: Callable[..., Any], remote_id: str) -> JobState:
        """Send an order that has no arguments. OpenAI's document has no body for one, and a strict server refuses any;
        Azure wants one, and answers 411 without."""
        if self.manifest.orders == "empty_object":
            return self._state(order(remote_id, extra_body={}))
        try:
            return self._state(order(remote_id))
        except self.sdk_errors as error:
            if getattr(error, "status_code", None) != _LENGTH_REQUIRED:
                raise
            return self._state(order(remote_id, extra_body={}))

    def _ask(self, remote_id: str, capability: str, call: Callable[[], T]) -> T:
        """Call, and raise UnsupportedError if the server knows the job but not the call: some have less of this API."""
        try:
            return call()
        except (NotFoundError, RejectedError) as error:
            if error.http_status not in _NO_SUCH_CALL:
                raise
            self.fetch(remote_id)  # NotFoundError if the job is missing, too
            raise UnsupportedError(f"the backend {self.name} does not support {capability}") from error

    def delete(self, remote_id: str) -> None:
        """Delete the tuned model. OpenAI cannot delete the job itself."""
        tuned_model = self.fetch(remote_id).tuned_model
        if tuned_model is None:
            raise NotFoundError(
                f"{self.name} made no model in {remote_id}; there is nothing to delete", provider=self.name
            )
        self._delete(lambda: self.client.models.delete(tuned_model))

    def events(self, remote_id: str, *, after: str | None = None) -> Iterable[JobEvent]:
        """Return the events after `after`, or all that the server has if it no longer knows that one."""
        events = self._ask(remote_id, "events", lambda: self._raw_events(remote_id, after))
        with self._translating():
            return redact_backend_secrets([parse_openai_job_event(raw) for raw in events], self.upstream.secret_pattern)

    def _raw_events(self, remote_id: str, after: str | None) -> list[dict[str, Any]]:
        """Return the raw events, oldest first. The server lists the newest first, so pages are read back until `after`
        shows up.

        New events come before the first page, out of the cursor's reach: they are left for the next call. If the server
        has forgotten a cursor, the list begins again here, because `_pages` would lose the order.
        """
        jobs = self.client.fine_tuning.jobs
        for attempt in range(_TRIES):
            newest_first: list[dict[str, Any]] = []
            try:
                for event in self._pages(lambda: jobs.list_events(remote_id, limit=_PAGE), restarts=0):
                    if event.id == after:
                        break
                    newest_first.append(event.to_dict(mode="json", warnings=False))
            except RejectedError as error:
                if error.http_status in _NO_SUCH_CALL or not newest_first or attempt + 1 == _TRIES:
                    raise
                continue
            return newest_first[::-1]
        raise AssertionError("the last attempt returns or raises")

    def metrics(self, remote_id: str) -> Sequence[MetricPoint]:
        """Return the points of the result file if there is one; until then those of the events, which may leave steps
        out."""
        for file_id in self.fetch(remote_id).result_files:
            try:
                return parse_openai_metrics_csv(self.read_file(file_id))
            except (NotFoundError, RejectedError, ValueError):
                continue  # deleted, not ours to download, or no table: the events still tell
        return parse_openai_event_metrics(self._ask(remote_id, "metrics", lambda: self._raw_events(remote_id, None)))

    def checkpoints(self, remote_id: str) -> Sequence[Checkpoint]:
        listed = self.client.fine_tuning.jobs.checkpoints
        points = self._ask(
            remote_id,
            "checkpoints",
            lambda: list(self._pages(lambda: listed.list(remote_id, limit=_PAGE))),
        )
        with self._translating():
            return sorted(
                (parse_openai_checkpoint(item.to_dict(mode="json", warnings=False)) for item in points),
                key=lambda item: item.step,
            )

    # --- the account ------------------------------------------------------------------------------------------------

    def list_jobs(self) -> Iterator[JobState]:
        yield from self._states(self._pages(lambda: self.client.fine_tuning.jobs.list(limit=_PAGE)))

    def list_models(self) -> Iterable[RemoteModel]:
        return self._read(
            lambda: [
                parse_remote_model(model.to_dict(mode="json", warnings=False)) for model in self.client.models.list()
            ]
        )

    def complete(
        self, model: str, messages: Sequence[dict[str, Any]], *, stream: bool = False, **options: Any
    ) -> Completion | Iterator[str]:
        try:
            return super().complete(model, messages, stream=stream, **options)
        except NotFoundError as error:
            if self.manifest.deployment is None:
                raise
            raise UnsupportedError(
                f"{self.name} has no deployment named {model}: {self.manifest.deployment.text}"
            ) from error


def _own_key_header(key: str, base_url: str) -> Callable[[Any], None]:
    """Return a hook that moves the key to the header `api-key`, and leaves it out if a redirect leads to another
    server."""
    own = urlsplit(base_url)

    def move(request: Any) -> None:
        request.headers.pop("Authorization", None)
        request.headers.pop("api-key", None)
        if (request.url.scheme, request.url.host, request.url.port) == (own.scheme, own.hostname, own.port):
            request.headers["api-key"] = key

    return move
