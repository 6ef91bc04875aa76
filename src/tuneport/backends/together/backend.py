"""Together's fine-tuning API through the official SDK.

| ours | Together's |
| --- | --- |
| method sft, dpo | training_method (inputs are masked as the data's format asks: train_on_inputs auto) |
| adapter lora (also for auto), full | lora true, false; qlora is refused; auto with from_checkpoint: what that was |
| epochs, batch_size, learning_rate, warmup_ratio, weight_decay | n_epochs, the same names; auto: Together's default |
| learning_rate_multiplier | learning_rate, times Together's default of 1e-5; the state's details show both |
| max_length, beta (dpo) | max_seq_length, dpo_beta |
| lora_rank, lora_alpha (whole numbers), lora_dropout | lora_r, lora_alpha, lora_dropout |
| suffix | cut to 27 characters, because the token travels behind it |
| seed | random_seed |
| validation | one evaluation an epoch (n_evals), with early stopping as many as it needs; its tokens are billed |
| from_checkpoint | from_checkpoint, instead of the model; `JOB:STEP` |
| wandb | wandb_project_name, wandb_name, wandb_entity, and WANDB_API_KEY of the environment |
| metadata | stays in tuneport's store: Together has none |
| provider_options | every further argument of fine_tuning.create, by its own name and type: early_stopping_*, |
| | rpo_alpha, simpo_gamma (above 0: reference-free), dpo_normalize_logratios_by_length, n_checkpoints, packing, |
| | from_hf_model with hf_model_revision (HF_TOKEN of the environment), train_vision ... |
"""

from __future__ import annotations

import re
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any, ClassVar

from tuneport.backends.hosted.backend import check_provider_list
from tuneport.backends.hosted.finding import SHORTEST_MARK, find_submitted_provider_job
from tuneport.backends.hosted.http.answers import (
    parse_provider_count,
    parse_provider_number,
    parse_provider_text,
    sanitise_provider_json,
)
from tuneport.backends.hosted.idempotency import add_idempotency_key, send_idempotency_key
from tuneport.backends.openai.uploads import ProviderUploadJournal
from tuneport.backends.together import files as files_
from tuneport.backends.together import request as arguments_
from tuneport.backends.together.jobs import (
    parse_together_checkpoints,
    parse_together_events,
    parse_together_job_state,
    parse_together_metrics,
)
from tuneport.backends.together.limits import check_together_features, check_together_limits, complete_together_limits
from tuneport.backends.together.quote import (
    build_together_estimate_request,
    parse_together_quote,
    parse_together_quote_refusal,
    together_quote_from_table,
    together_quote_missing_reason,
)
from tuneport.backends.together.serving import TogetherServing
from tuneport.backends.together.weights import download_tuned_weights
from tuneport.client_rules import Rule
from tuneport.errors import (
    ConfigError,
    DatasetError,
    ModelNotOfferedError,
    NotFoundError,
    ProviderError,
    QuotaError,
    TuneportError,
    UnavailableError,
)
from tuneport.manifests import Manifest, find_manifest_model
from tuneport.types import (
    Adapter,
    Auto,
    Checkpoint,
    DataFile,
    Found,
    JobEvent,
    JobState,
    JobStatus,
    Method,
    MetricPoint,
    PreparedData,
    Quote,
    RemoteFile,
    RemoteModel,
    TuneSpec,
)

_SUFFIX_LENGTH = 40
_NAMES = ("suffix", "model_output_name")
_COUNTS = ("estimated_train_token_count", "estimated_eval_token_count")
_MARK_LENGTH = SHORTEST_MARK  # characters of the token in the suffix
_MARK = re.compile(rf"(?:^|-)tp([a-z0-9]{{{_MARK_LENGTH}}})(?=-|$)")


class TogetherBackend(TogetherServing):
    statuses: ClassVar[dict[str, JobStatus]] = {
        "pending": JobStatus.QUEUED,
        "queued": JobStatus.QUEUED,
        "running": JobStatus.RUNNING,
        "compressing": JobStatus.FINALIZING,
        "uploading": JobStatus.FINALIZING,
        "cancel_requested": JobStatus.CANCELLING,
        "cancelled": JobStatus.CANCELLED,
        "error": JobStatus.FAILED,
        "user_error": JobStatus.FAILED,
        "completed": JobStatus.SUCCEEDED,
    }

    listed_per_call: ClassVar[int | None] = None
    lists_are_partial: ClassVar[bool] = True  # the SDK calls a listed job "a truncated version" of the job

    # Billed are the tokens of all epochs and evaluations, whatever is done with them; stopping early bills fewer.
    # Not here: n_evals (its tokens are billed), packing (without it padding is billed) and other models to start from.
    cost_neutral_options: ClassVar[frozenset[str]] = frozenset(
        {
            "n_checkpoints", "gradient_accumulation_steps", "lr_scheduler_type", "min_lr_ratio",
            "scheduler_num_cycles", "max_grad_norm", "lora_trainable_modules", "wandb_base_url", "wandb_project_name",
            "wandb_name", "wandb_entity", "early_stopping_enabled", "early_stopping_patience",
            "early_stopping_min_delta", "early_stopping_warmup_evals", "dpo_normalize_logratios_by_length",
            "rpo_alpha", "simpo_gamma", "hf_output_repo_name", "train_on_inputs",
        }
    )  # fmt: skip

    def client_rules(self) -> Mapping[str, Rule]:
        return arguments_.CLIENT_RULES

    def _connect(self, key: str) -> Any:
        import httpx
        import together

        self.sdk_errors = (together.TogetherError, httpx.HTTPError)
        others = [self.settings.secret(variable) for variable in arguments_.SECRETS.values()]
        self.upstream = replace(self.upstream, others=tuple(secret for secret in others if secret is not None))
        self._last_sent = threading.local()
        client = self._open_client(
            together,
            together.Together,
            httpx,
            key,
            # The SDK's own paths begin with /v1, and other clients' base URLs end with it.
            base_url=self.upstream.address.removesuffix("/v1"),
            asking=[self._note_request, add_idempotency_key],
            project_id="",
        )
        client.project_id = None  # given empty above, so that the environment is not asked
        return client

    def _note_request(self, request: Any) -> None:
        self._last_sent.path = request.url.path

    # --- files ------------------------------------------------------------------------------------------------------

    def prepare(self, spec: TuneSpec, data: PreparedData) -> Iterator[RemoteFile]:
        """Upload the files. What the model's limits rule out is refused before a file is sent."""
        from tuneport.data.dataset import Dataset

        self.check(spec)
        sources = [("training", spec.dataset, data.training)]
        if data.validation is not None:
            sources.append(("validation", spec.validation or data.validation.path, data.validation))
        unsent = [
            RemoteFile(id="file-unsent", purpose=purpose, sha256="", filename="", bytes=0)  # type: ignore[arg-type]
            for purpose, _, _ in sources
        ]
        limits, arguments = self._checked(spec, unsent, None)
        arguments_.find_together_job_secrets(self.name, arguments, self.settings)
        for _, _, file in sources:
            check_together_features(self.name, spec.model, limits, file)
        for purpose, dataset, file in sources:
            try:
                placed = self._place(purpose, file)  # type: ignore[arg-type]
            except DatasetError as error:
                raise files_.locate_in_users_file(error, Dataset(dataset, spec.columns), file) from error
            yield placed

    def _find_or_upload(self, file: DataFile) -> str:
        return files_.find_or_upload_together_file(
            self.client,
            file,
            ProviderUploadJournal(self.settings.home, file, self.name, self.upstream.base_url),
            lambda: str(self._last_sent.path),
            once=self._once,
            sleep=self._sleep,
        )

    def _validated(self, file_id: str, file: DataFile) -> bool:
        return files_.is_together_file_valid(self.client, self.upstream, file_id, file)

    # --- starting a job ---------------------------------------------------------------------------------------------

    @classmethod
    def hyperparameter_names(cls, method: Method, adapter: Adapter | Auto) -> Mapping[str, str]:
        return arguments_.together_hyperparameter_names(method, adapter)

    @classmethod
    def describe_options(cls, manifest: Manifest) -> Mapping[str, str]:
        return arguments_.describe_together_options()

    def check(self, spec: TuneSpec) -> None:
        arguments_.check_together_spec(self.name, spec)
        super().check(spec)

    def _checked(self, spec: TuneSpec, files: Sequence[RemoteFile], suffix: str | None) -> tuple[Any, dict[str, Any]]:
        """Return the model's limits, and the arguments of `create`, which keep to them."""
        arguments = arguments_.build_together_job_arguments(spec, files, suffix)
        self._refuse_other_base(spec)
        name = spec.model if spec.from_checkpoint is None else spec.from_checkpoint.partition(":")[0]
        try:
            limits = self._read(lambda: complete_together_limits(self.client.fine_tuning.model_limits(model_name=name)))
        except NotFoundError as error:
            if spec.from_checkpoint is not None:
                raise
            raise self._not_offered(name) from error
        check_together_limits(self.name, arguments, limits)
        arguments_.build_together_quote_request(self.name, arguments, limits)
        return limits, arguments

    def _refuse_other_base(self, spec: TuneSpec) -> None:
        """Raise ConfigError if training would continue from a job of another model than the priced one.

        The start is a job's id or the name of its model, as the service takes both. A start that is not in the account,
        or whose base is not in the published table, is for the service to judge.
        """
        if spec.from_checkpoint is None:
            return
        start = spec.from_checkpoint.partition(":")[0]
        jobs = self._listed()
        job = next((job for job in jobs if start in (job["id"], job.get("model_output_name"))), None)
        base = None if job is None else job.get("model")
        if base and base != spec.model and find_manifest_model(self.manifest, base) is not None:
            raise ConfigError(
                f"{spec.from_checkpoint} was tuned from {base}, not from {spec.model}; give --model {base}"
            )

    def _not_offered(self, name: str) -> ModelNotOfferedError:
        try:
            offered = [model.id for model in self._tunable()]
        except ProviderError:
            offered = [row.id for row in self.manifest.models]
        nearest = get_close_matches(name, offered, n=3, cutoff=0.3)
        message = f"{self.name} does not fine-tune {name}; nearest: {', '.join(nearest) or ', '.join(offered[:3])}"
        return ModelNotOfferedError(message, model=name, backend=self.name, nearest=nearest)

    def submit(self, spec: TuneSpec, files: Sequence[RemoteFile], *, token: str) -> JobState:
        self.check(spec)
        suffix = suffix_with_submit_token(spec.suffix, token)
        limits, arguments = self._start(lambda: self._checked(spec, files, suffix), sent=lambda: False)
        keys = arguments_.find_together_job_secrets(self.name, arguments, self.settings)
        estimate = self._start(lambda: self._estimate(arguments, limits), sent=lambda: False)
        if (barred := parse_together_quote_refusal(self.name, estimate)) is not None:
            raise QuotaError(barred, provider=self.name, code="not_allowed_to_proceed")
        self._last_sent.path = ""

        def start() -> JobState:
            with arguments_.silence_together_sdk(arguments), send_idempotency_key(token, "/v1/fine-tunes"):
                state = self._state(self.client.fine_tuning.create(**arguments, **keys, model_limits=limits))
            answered = state.details.get("suffix")
            if answered and not (suffix.startswith(answered) or answered.startswith(suffix)):
                raise UnavailableError(
                    f"{self.name} answered the submit with {state.remote_id}, whose suffix is that of another job",
                    provider=self.name,
                )
            return state

        # `create` asks for a price before it posts the job; what goes wrong there has started nothing.
        state = self._start(start, sent=lambda: self._last_sent.path.endswith("/v1/fine-tunes"))
        multiplier = spec.hyperparameters.learning_rate_multiplier
        if multiplier == "auto":
            return state
        rates = {"learning_rate_multiplier": multiplier, "learning_rate": arguments["learning_rate"]}
        return state.model_copy(update={"details": state.details | rates})

    def find(self, token: str) -> Found:
        try:
            jobs = [self._state_of(job) for job in self._listed()]
            return find_submitted_provider_job(jobs, token, self.mark_of, most=len(jobs) + 1, provider=self.name)
        except TuneportError as error:
            return Found.unknown(str(error))

    def mark_of(self, state: JobState) -> str | None:
        for name in (state.details.get("suffix"), state.details.get("model_output_name"), state.tuned_model):
            if isinstance(name, str) and (mark := _MARK.search(name)) is not None:
                return mark.group(1)
        return None

    # --- a job's life -----------------------------------------------------------------------------------------------

    def _state(self, job: Any) -> JobState:
        return self._state_of(job.to_dict(mode="json", warnings=False))

    def _state_of(self, raw: dict[str, Any]) -> JobState:
        with self._translating():
            return parse_together_job_state(self.name, self.statuses, raw)

    def _list(self) -> list[dict[str, Any]]:
        jobs = [
            sanitise_provider_json(job.to_dict(mode="json", warnings=False))
            for job in check_provider_list(self.client.fine_tuning.list()).data
        ]
        return [job | {name: parse_provider_text(job.get(name)) for name in _NAMES} for job in jobs]

    def _listed(self) -> list[dict[str, Any]]:
        return self._read(self._list)

    def _retrieved(self, remote_id: str) -> dict[str, Any]:
        job: dict[str, Any] = self.client.fine_tuning.retrieve(remote_id).to_dict(mode="json", warnings=False)
        return job

    def fetch(self, remote_id: str) -> JobState:
        return self._read(lambda: self._state_of(self._retrieved(remote_id)))

    def cancel(self, remote_id: str) -> JobState:
        return self._cancel(remote_id, lambda: self._state(self.client.fine_tuning.cancel(remote_id)))

    def delete(self, remote_id: str) -> None:
        """Delete the tuned model, after stopping its endpoint, which would cost money and answer nothing."""
        self._stop_endpoint(remote_id)
        self._delete(lambda: self.client.fine_tuning.delete(remote_id))

    def events(self, remote_id: str, *, after: str | None = None) -> Iterable[JobEvent]:
        ask = self.client.fine_tuning.list_events
        events = self._read(
            lambda: parse_together_events(
                [event.to_dict(mode="json", warnings=False) for event in check_provider_list(ask(remote_id)).data]
            )
        )
        position = next((index for index, event in enumerate(events) if event.id == after), -1)
        return events[position + 1 :]

    def metrics(self, remote_id: str, **wanted: Any) -> Sequence[MetricPoint]:
        """Return all points, or those that `wanted` selects by the SDK's names: global_step_from, global_step_to,
        logged_at_from, logged_at_to (times), and resolution, the number of training steps that are picked evenly."""

        def read() -> list[MetricPoint]:
            metrics = self.client.fine_tuning.list_metrics(remote_id, **wanted).metrics
            if metrics is None:
                raise ValueError("metrics were expected, and there are none")
            return parse_together_metrics(metrics)

        return self._read(read)

    def checkpoints(self, remote_id: str) -> Sequence[Checkpoint]:
        ask = self.client.fine_tuning.list_checkpoints
        return self._read(
            lambda: parse_together_checkpoints(
                [item.to_dict(mode="json", warnings=False) for item in check_provider_list(ask(remote_id)).data]
            )
        )

    def download(self, remote_id: str, folder: Path, *, merged: bool = False) -> Path:
        """Return the adapter, or the whole model (`merged`, or a full fine-tune), unpacked in `folder`, for PEFT and
        transformers.

        `remote_id` may name a checkpoint, `JOB:STEP`. An unfinished download is continued.
        """
        return download_tuned_weights(
            remote_id,
            folder,
            merged=merged,
            backend=self.name,
            fetch_job=self.fetch,
            once=self._once,
            sleep=self._sleep,
            content=self.client.fine_tuning.with_streaming_response.content,
        )

    # --- the account ------------------------------------------------------------------------------------------------

    def list_jobs(self) -> Iterable[JobState]:
        states = self._read(lambda: [self._state_of(job) for job in self._list()])
        return sorted(states, key=lambda state: state.created_at.timestamp() if state.created_at else 0.0, reverse=True)

    def list_files(self) -> Iterable[RemoteFile]:
        """Return the account's fine-tuning files. The list has no hash: `sha256` is empty, and `purpose` always
        training."""
        return self._read(lambda: files_.list_together_files(self.client))

    def list_models(self) -> Iterable[RemoteModel]:
        """Return the account's tuned models, newest first, then the models that can be tuned."""
        tuned = [
            RemoteModel(id=job.tuned_model, tuned=True, created_at=job.finished_at)
            for job in self.list_jobs()
            if job.tuned_model is not None
        ]
        return [*tuned, *self._tunable()]

    def _tunable(self) -> list[RemoteModel]:
        """Return the models that can be tuned. The SDK has no method for this address of the API."""
        answer = self._read(lambda: self.client.get("/v1/fine-tunes/models/supported", cast_to=object))
        if not isinstance(answer, dict) or not isinstance(answer.get("models"), list):
            raise self.upstream.unexpected_answer_error("a list of models was expected")
        names = [model if isinstance(model, str) else str(model.get("name")) for model in answer["models"]]
        return [RemoteModel(id=name) for name in names]

    def read_file(self, file_id: str) -> bytes:
        return self._read(lambda: bytes(self.client.files.content(file_id).read()), within=None)

    def save_file(self, file_id: str, target: Path) -> Path:
        return self._read(lambda: files_.save_together_file(self.client, file_id, target), within=None)

    def delete_file(self, file_id: str) -> None:
        self._delete(lambda: self.client.files.delete(file_id))

    def _estimate(self, arguments: dict[str, Any], limits: Any) -> dict[str, Any]:
        _, kind, method = arguments_.build_together_quote_request(self.name, arguments, limits)
        request = build_together_estimate_request(arguments, kind, method)
        ask = self.client.fine_tuning.estimate_price

        def read() -> dict[str, Any]:
            said: dict[str, Any] = sanitise_provider_json(ask(**request).to_dict(mode="json", warnings=False))
            said |= {name: parse_provider_number(said.get(name)) for name in ("estimated_total_price", "user_limit")}
            said |= {name: parse_provider_count(said.get(name)) for name in _COUNTS}
            return {"estimation_available": said["estimation_available"], **said}  # KeyError: it is no estimate

        return self._read(read)

    def quote(self, spec: TuneSpec, files: Sequence[RemoteFile]) -> Quote | None:
        """Return Together's own estimate, else a quote by its published table, with the reason."""
        if not files:
            return None
        self.check(spec)
        limits, arguments = self._checked(spec, files, None)
        prepared = self.settings.home / "files"
        estimate = self._estimate(arguments, limits)
        unavailable = together_quote_missing_reason(self.name, estimate)
        own = None if unavailable is not None else parse_together_quote(self.manifest, spec.model, estimate)
        if arguments.get("packing") is False:
            longest = limits.max_seq_length_dpo if arguments["training_method"] == "dpo" else limits.max_seq_length_sft
            because = f"{self.name}'s estimate assumes packing"
            padded_to = arguments.get("max_seq_length") or longest
            padded = together_quote_from_table(
                self.manifest, spec, arguments, because, files, prepared, padded_to=padded_to
            )
            # Packed it is shorter, so Together's own estimate is the least that the job costs.
            dearer = own is not None and (own.expected or 0.0) > (padded.expected or 0.0)
            return own if dearer and padded.expected is not None else padded
        if unavailable is not None:
            images = estimate.get("unavailable_reason") == "multimodal_dataset"
            return together_quote_from_table(
                self.manifest, spec, arguments, unavailable, files, prepared, images=images
            )
        return own


def suffix_with_submit_token(suffix: str | None, token: str) -> str:
    """Return the user's suffix, cut if needed, then `-tp` and the beginning of the token; 40 characters at most."""
    mark = _mark(token)
    kept = (suffix or "")[: _SUFFIX_LENGTH - len(mark) - 1].rstrip("-")
    return f"{kept}-{mark}" if kept else mark


def _mark(token: str) -> str:
    if not re.fullmatch(rf"[a-z0-9]{{{_MARK_LENGTH},}}", token):
        raise ValueError(f"a token must be at least {_MARK_LENGTH} lower-case letters and digits, not {token!r}")
    return f"tp{token[:_MARK_LENGTH]}"
