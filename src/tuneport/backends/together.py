"""Together's fine-tuning API through the official SDK.

| ours | Together's |
| --- | --- |
| method sft, dpo | training_method (inputs are masked as the data's format asks: train_on_inputs auto) |
| adapter lora (also for auto), full | lora true, false; qlora is refused |
| epochs, batch_size, learning_rate, warmup_ratio, weight_decay | n_epochs, the same names; auto: Together's default |
| learning_rate_multiplier | learning_rate, times Together's default of 1e-5; the state's details show both |
| max_length, beta (dpo) | max_seq_length, dpo_beta |
| lora_rank, lora_alpha (whole numbers), lora_dropout | lora_r, lora_alpha, lora_dropout |
| suffix | cut to 27 characters, because the token travels behind it |
| seed | random_seed |
| validation | one evaluation an epoch (n_evals); Together bills its tokens |
| metadata | stays in tuneport's store: Together has none |
| provider_options | further arguments of the SDK's fine_tuning.create |
"""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, ClassVar

from tuneport.backends.hosted import (
    HostedBackend,
    headers_for,
    id_of,
    named_link,
    parameters_of,
    refuse_hyperparameters,
    remote_name,
)
from tuneport.backends.provider_options import refuse_job_fields
from tuneport.backends.together_jobs import checkpoints_of, events_of, metrics_of, problem_of, state_of
from tuneport.errors import (
    ConfigError,
    DatasetError,
    ProviderError,
    RejectedError,
    TuneportError,
    UnsupportedError,
)
from tuneport.types import (
    Adapter,
    Checkpoint,
    DataFile,
    Found,
    JobEvent,
    JobState,
    JobStatus,
    Method,
    MetricPoint,
    Quote,
    RemoteFile,
    RemoteModel,
    TuneSpec,
)

DEFAULT_LEARNING_RATE = 1e-5
"""What `fine_tuning.create` of the SDK (3.1.1) sends unless told otherwise, whatever the model."""

_SUFFIX_LENGTH = 40
_MARK_LENGTH = 10  # characters of the token in the suffix
_API, _CHAT = "https://api.together.ai", "https://api-inference.together.ai"

_NAMES = {
    "epochs": "n_epochs",
    "batch_size": "batch_size",
    "learning_rate": "learning_rate",
    "warmup_ratio": "warmup_ratio",
    "weight_decay": "weight_decay",
    "max_length": "max_seq_length",
    "lora_rank": "lora_r",
    "lora_alpha": "lora_alpha",
    "lora_dropout": "lora_dropout",
    "beta": "dpo_beta",
}
_JOB_FIELDS = {theirs: ours for ours, theirs in _NAMES.items()} | {
    "training_file": "dataset",
    "validation_file": "validation",
    "training_method": "method",
    "lora": "adapter",
    "random_seed": "seed",
    "train_on_inputs": "dataset (its format says what is trained on)",
}
_REASONS = {
    "multimodal_dataset": "it does not estimate datasets with images",
    "train_file_not_validated": "the training file is not validated yet",
    "eval_file_not_validated": "the validation file is not validated yet",
    "train_file_invalid": "the training file is invalid",
    "eval_file_invalid": "the validation file is invalid",
}


class TogetherBackend(HostedBackend):
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

    # Billed are the tokens of all epochs and evaluations, whatever is done with them; stopping early bills fewer.
    # Not here: n_evals (its tokens are billed), packing (without it padding is billed) and other models to start from.
    cost_neutral_options: ClassVar[frozenset[str]] = frozenset(
        {
            "n_checkpoints", "gradient_accumulation_steps", "lr_scheduler_type", "min_lr_ratio",
            "scheduler_num_cycles", "max_grad_norm", "lora_trainable_modules", "wandb_base_url", "wandb_project_name",
            "wandb_name", "wandb_entity", "early_stopping_enabled", "early_stopping_patience",
            "early_stopping_min_delta", "early_stopping_warmup_evals", "dpo_normalize_logratios_by_length",
            "rpo_alpha", "simpo_gamma", "hf_output_repo_name",
        }
    )  # fmt: skip

    def _connect(self, key: str) -> Any:
        import httpx
        import together

        self.sdk_errors = (together.TogetherError, httpx.HTTPError)
        self._last_sent = threading.local()
        timeout = together.Timeout(self.options.timeout, connect=min(10.0, self.options.timeout))
        hooks: dict[str, list[Any]] = {"request": [self._note_request], "response": [self._refuse_html]}
        client = together.Together(
            api_key=key,
            # The SDK's own paths begin with /v1, and other clients' base URLs end with it.
            base_url=self.upstream.base_url.removesuffix("/v1"),
            project_id="",
            max_retries=0,
            timeout=timeout,
            default_headers=headers_for(key),
            http_client=together.DefaultHttpxClient(timeout=timeout, event_hooks=hooks),
        )
        client.project_id = None  # given empty above, so that the environment is not asked
        return client

    def _note_request(self, request: Any) -> None:
        self._last_sent.path = request.url.path

    # --- files ------------------------------------------------------------------------------------------------------

    def _find_or_upload(self, file: DataFile) -> str:
        name = remote_name(file)
        for known in self.client.files.list().data:
            if known.filename == name and known.bytes == file.bytes and known.processing_status != "FAILED":
                break
        else:
            with named_link(file) as link:
                known = self.client.files.upload(link, purpose="fine-tune", check=False)
        if (known.processing_status or "").upper() == "PENDING" and not self._last_sent.path.endswith("/preprocess"):
            self._begin_validation(known.id)
        return id_of(known)

    def _begin_validation(self, file_id: str) -> None:
        """The last of an upload's three requests; an upload that broke off before it stays pending for ever."""
        try:
            self._once(lambda: self.client.post(f"/v1/files/{file_id}/preprocess", cast_to=object))
        except RejectedError:
            pass  # it has begun already

    def _validated(self, file_id: str, file: DataFile) -> bool:
        answer = self.client.files.retrieve(file_id)
        id_of(answer)
        remote = answer.to_dict(mode="json")
        status = (remote.get("processing_status") or "COMPLETED").upper()
        reason = self.upstream.redact((remote.get("validation_report") or {}).get("error") or "no reason given")
        if status == "INVALID_FORMAT":
            raise DatasetError(problem_of(str(file.path), self.name, reason))
        if status == "FAILED":
            message = f"{self.name} could not validate {file_id} ({file.path}): {reason}; submit again"
            raise ProviderError(message, provider=self.name, code="validation_failed")
        return status == "COMPLETED"

    # --- starting a job ---------------------------------------------------------------------------------------------

    def check(self, spec: TuneSpec) -> None:
        refuse_job_fields(self.name, spec.provider_options, _JOB_FIELDS)
        if spec.provider_options:
            from together.resources.fine_tuning import FineTuningResource

            takes_options = parameters_of(FineTuningResource.create) - {"self", "model_limits", "verbose"}
            if unknown := sorted(set(spec.provider_options) - takes_options):
                raise ConfigError(f"provider_options.{unknown[0]} is no argument of {self.name}'s fine_tuning.create")
        given = spec.hyperparameters.given()
        takes = {*_NAMES, "learning_rate_multiplier"}
        if spec.method is not Method.DPO:
            takes.discard("beta")
        if spec.adapter is Adapter.QLORA:
            raise UnsupportedError(f"the backend {self.name} does not train qlora adapters; use lora, full or auto")
        if spec.adapter is Adapter.FULL:
            takes -= {"lora_rank", "lora_alpha", "lora_dropout"}
        refuse_hyperparameters(self.name, given, takes, f" with method {spec.method} and adapter {spec.adapter}")
        if given.get("lora_alpha", 0) != int(given.get("lora_alpha", 0)):
            raise UnsupportedError(f"the backend {self.name} takes whole numbers for lora_alpha; round it yourself")
        super().check(spec)

    def _arguments(self, spec: TuneSpec, files: Sequence[RemoteFile], suffix: str | None) -> dict[str, Any]:
        """The arguments of `fine_tuning.create`."""
        self.check(spec)
        given = spec.hyperparameters.given()
        by_purpose = {file.purpose: file.id for file in files}
        arguments: dict[str, Any] = {
            "training_file": by_purpose["training"],
            "model": spec.model,
            "training_method": spec.method.value,
            "lora": spec.adapter is not Adapter.FULL,
            "n_epochs": 1,
            **{_NAMES[name]: value for name, value in given.items() if name in _NAMES},
        }
        if "learning_rate_multiplier" in given:
            arguments["learning_rate"] = given["learning_rate_multiplier"] * DEFAULT_LEARNING_RATE
        if spec.method is Method.SFT:
            arguments["train_on_inputs"] = "auto"
        if "validation" in by_purpose:
            arguments |= {"validation_file": by_purpose["validation"], "n_evals": arguments["n_epochs"]}
        if spec.seed is not None:
            arguments["random_seed"] = spec.seed
        if suffix is not None:
            arguments["suffix"] = suffix
        return arguments | spec.provider_options  # of what is set above, `check` lets only n_evals through

    def submit(self, spec: TuneSpec, files: Sequence[RemoteFile], *, token: str) -> JobState:
        arguments = self._arguments(spec, files, suffix_with(spec.suffix, token))
        create = self.client.fine_tuning.create
        self._last_sent.path = ""
        limits = self._start(
            lambda: self._read(lambda: self.client.fine_tuning.model_limits(model_name=spec.model)), sent=lambda: False
        )

        def start() -> JobState:
            try:
                return self._state(create(**arguments, model_limits=limits))
            except ValueError as error:
                if self._last_sent.path.endswith("/models/limits"):  # the SDK's own check; nothing went out
                    raise UnsupportedError(f"{self.name} cannot run this job: {error}; change that setting") from error
                raise

        # `create` asks for a price before it posts the job; what goes wrong there has started nothing.
        state = self._start(start, sent=lambda: self._last_sent.path.endswith("/v1/fine-tunes"))
        multiplier = spec.hyperparameters.learning_rate_multiplier
        if multiplier == "auto":
            return state
        rates = {"learning_rate_multiplier": multiplier, "learning_rate": arguments["learning_rate"]}
        return state.model_copy(update={"details": state.details | rates})

    def find(self, token: str) -> Found:
        mark = _mark(token)
        try:
            for job in self._read(self._list):
                names = (job.get("suffix"), job.get("model_output_name"))
                if any(re.search(rf"(^|-){mark}(-|$)", name) for name in names if name):
                    return Found.found(self._state_of(job))
        except TuneportError as error:
            return Found.unknown(str(error))
        return Found.absent()

    # --- a job's life -----------------------------------------------------------------------------------------------

    def _state(self, job: Any) -> JobState:
        return self._state_of(job.to_dict(mode="json"))

    def _state_of(self, raw: dict[str, Any]) -> JobState:
        return state_of(self.name, self.statuses, raw)

    def _list(self) -> list[dict[str, Any]]:
        return [job.to_dict(mode="json") for job in self.client.fine_tuning.list().data]

    def fetch(self, remote_id: str) -> JobState:
        return self._read(lambda: self._state(self.client.fine_tuning.retrieve(remote_id)))

    def cancel(self, remote_id: str) -> JobState:
        return self._cancel(remote_id, lambda: self._state(self.client.fine_tuning.cancel(remote_id)))

    def delete(self, remote_id: str) -> None:
        self._delete(lambda: self.client.fine_tuning.delete(remote_id))

    def events(self, remote_id: str, *, after: str | None = None) -> Iterable[JobEvent]:
        listed = self._read(
            lambda: [event.to_dict(mode="json") for event in self.client.fine_tuning.list_events(remote_id).data]
        )
        events = events_of(listed)
        position = next((index for index, event in enumerate(events) if event.id == after), -1)
        return events[position + 1 :]

    def metrics(self, remote_id: str) -> Sequence[MetricPoint]:
        def listed() -> list[MetricPoint]:
            metrics = self.client.fine_tuning.list_metrics(remote_id).metrics
            if metrics is None:
                raise ValueError("metrics were expected, and there are none")
            return metrics_of(metrics)

        return self._read(listed)

    def checkpoints(self, remote_id: str) -> Sequence[Checkpoint]:
        return self._read(
            lambda: checkpoints_of(
                [item.to_dict(mode="json") for item in self.client.fine_tuning.list_checkpoints(remote_id).data]
            )
        )

    def download(self, remote_id: str, folder: Path, *, merged: bool = False) -> Path:
        """The archive (tar.zst, or tar.gz) with the adapter, or with the whole model: `merged`, or a full fine-tune."""
        state = self.fetch(remote_id)
        if state.status is not JobStatus.SUCCEEDED or state.tuned_model is None:
            raise RejectedError(
                f"{remote_id} at {self.name} is {state.status}; its weights can be downloaded once it has succeeded",
                provider=self.name,
            )
        full = (state.hyperparameters.get("training_type") or {}).get("type") == "Full"
        which = "model_output_path" if full else "merged" if merged else "adapter"
        stem = f"{state.tuned_model.replace('/', '--')}-{'model' if full else which}"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            return self._read(lambda: self._download(remote_id, which, folder, stem))
        except OSError as error:
            raise ConfigError(
                f"{folder} cannot be written: {error.strerror}; free space or take another folder"
            ) from error

    def _download(self, remote_id: str, which: str, folder: Path, stem: str) -> Path:
        content = self.client.fine_tuning.with_streaming_response.content
        with content(ft_id=remote_id, checkpoint=which) as response:
            packed = "gz" if "gzip" in response.headers.get("content-type", "").lower() else "zst"
            if "x-tar" in response.headers.get("content-type", "").lower():
                packed = "gz"
            target = folder / f"{stem}.tar.{packed}"
            # Aside first: a file under its final name is whole.
            part = target.with_name(target.name + ".part")
            try:
                response.stream_to_file(part)
                os.replace(part, target)
            finally:
                part.unlink(missing_ok=True)
        return target

    # --- the account ------------------------------------------------------------------------------------------------

    def list_jobs(self) -> Iterable[JobState]:
        states = self._read(lambda: [self._state_of(job) for job in self._list()])
        return sorted(states, key=lambda state: state.created_at.timestamp() if state.created_at else 0.0, reverse=True)

    def list_files(self) -> Iterable[RemoteFile]:
        """The account's fine-tuning files. The list has no hash: `sha256` is empty, and `purpose` always training."""
        files = self._read(lambda: list(self.client.files.list().data))
        return [
            RemoteFile(id=file.id, purpose="training", sha256="", filename=file.filename, bytes=file.bytes)
            for file in files
            if file.purpose == "fine-tune"
        ]

    def list_models(self) -> Iterable[RemoteModel]:
        """The models that can be tuned. The SDK has no method for this address of the API."""
        answer = self._read(lambda: self.client.get("/v1/fine-tunes/models/supported", cast_to=object))
        if not isinstance(answer, dict) or not isinstance(answer.get("models"), list):
            raise self.upstream.unexpected("a list of models was expected")
        names = [model if isinstance(model, str) else str(model.get("name")) for model in answer["models"]]
        return [RemoteModel(id=name) for name in names]

    def read_file(self, file_id: str) -> bytes:
        return self._read(lambda: bytes(self.client.files.content(file_id).read()))

    def delete_file(self, file_id: str) -> None:
        self._delete(lambda: self.client.files.delete(file_id))

    def quote(self, spec: TuneSpec, files: Sequence[RemoteFile]) -> Quote | None:
        """Together's own estimate, in which validation tokens and the minimum of a job are counted."""
        if not files:
            return None
        arguments = self._arguments(spec, files, None)
        request: dict[str, Any] = {
            name: arguments[name]
            for name in ("training_file", "validation_file", "model", "n_epochs", "n_evals")
            if name in arguments
        }
        method: dict[str, Any] = (
            {"method": "dpo"} if spec.method is Method.DPO else {"method": "sft", "train_on_inputs": "auto"}
        )
        if spec.adapter is Adapter.FULL:
            request["training_type"] = {"type": "Full"}

        def estimate() -> dict[str, Any]:
            said = self.client.fine_tuning.estimate_price(**request, training_method=method).to_dict(mode="json")
            return {"estimation_available": said["estimation_available"], **said}  # KeyError: it is no estimate

        answer = self._read(estimate)
        price = answer.get("estimated_total_price")
        if not answer.get("estimation_available") or price is None:
            reason = str(answer.get("unavailable_reason") or "it does not say why")
            return Quote.unknown(
                self.name, spec.model, f"{self.name} gives no estimate: {_REASONS.get(reason, reason)}"
            )
        tokens = int(answer.get("estimated_train_token_count") or 0)
        warning = (
            "" if answer.get("allowed_to_proceed", True) else "; more than this account's limit, it may be stopped"
        )
        return Quote(
            backend=self.name,
            model=spec.model,
            expected=price,
            authority="provider",
            explanation=f"{self.name}'s own estimate for {tokens} training tokens, all epochs together{warning}",
        )

    # --- chats ------------------------------------------------------------------------------------------------------

    def _chat_client(self) -> Any:
        # Chats live at another host than jobs, unless somebody set an address.
        return self.client.with_options(base_url=_CHAT) if self.upstream.base_url == _API else self.client

    def complete(self, model: str, messages: Sequence[dict[str, Any]], *, stream: bool = False, **options: Any) -> Any:
        try:
            return super().complete(model, messages, stream=stream, **options)
        except RejectedError as error:
            if "non-serverless" not in str(error):
                raise
            raise UnsupportedError(
                f"{self.name} answers as {model} only from a dedicated endpoint (billed by the minute): start one "
                "there, or download the weights and run them locally"
            ) from error


def suffix_with(suffix: str | None, token: str) -> str:
    """The user's suffix, cut if need be, then `-tp` and the beginning of the token; 40 characters at most."""
    mark = _mark(token)
    kept = (suffix or "")[: _SUFFIX_LENGTH - len(mark) - 1].rstrip("-")
    return f"{kept}-{mark}" if kept else mark


def _mark(token: str) -> str:
    if not re.fullmatch(rf"[a-z0-9]{{{_MARK_LENGTH},}}", token):
        raise ValueError(f"a token must be at least {_MARK_LENGTH} lower-case letters and digits, not {token!r}")
    return f"tp{token[:_MARK_LENGTH]}"
