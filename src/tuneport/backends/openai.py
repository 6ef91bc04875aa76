"""OpenAI's fine-tuning API through the official SDK; also Azure's and whatever else speaks it, by base URL.

| ours | OpenAI's |
| --- | --- |
| method sft, dpo | method.type supervised, dpo |
| epochs, batch_size, learning_rate_multiplier, beta (dpo) | n_epochs, batch_size, learning_rate_multiplier, beta |
| learning_rate, warmup_ratio, weight_decay, max_length, lora_* | refused unless auto: the API has no word for them |
| adapter | refused unless auto: which weights move is OpenAI's secret |
| suffix, seed, metadata | the same; the token travels as metadata.tuneport_token |
| provider_options | further fields of the request, such as integrations |
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, ClassVar

from tuneport.backends.hosted import (
    HostedBackend,
    headers_for,
    id_of,
    items_of,
    refuse_hyperparameters,
    remote_name,
)
from tuneport.backends.openai_jobs import checkpoint_of, event_of, metric_of, metrics_of_csv, model_of, state_of
from tuneport.backends.provider_options import refuse_job_fields
from tuneport.errors import (
    ConfigError,
    DatasetError,
    NotFoundError,
    RejectedError,
    TuneportError,
    UnsupportedError,
)
from tuneport.errors import DatasetProblem as Problem
from tuneport.types import (
    Checkpoint,
    DataFile,
    Found,
    JobEvent,
    JobState,
    JobStatus,
    Method,
    MetricPoint,
    RemoteFile,
    RemoteModel,
    TuneSpec,
)

TOKEN_KEY = "tuneport_token"
_JOB_FIELDS = {
    "training_file": "dataset",
    "validation_file": "validation",
    "hyperparameters": "hyperparameters",  # the API's older place for them, still obeyed
    "n_epochs": "epochs",
}
_PAGE = 100
_PART_BYTES = 16 * 2**20
_MOST_PAGES = 100  # of jobs, looked through for a token where the server does not filter


class OpenAIBackend(HostedBackend):
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

    hyperparameters: ClassVar[dict[str, str]] = {
        "epochs": "n_epochs",
        "batch_size": "batch_size",
        "learning_rate_multiplier": "learning_rate_multiplier",
    }

    def _connect(self, key: str) -> Any:
        import openai

        self.sdk_errors = (openai.OpenAIError,)
        timeout = openai.Timeout(self.options.timeout, connect=min(10.0, self.options.timeout))
        own = self.manifest.name == "openai"  # another server has no business with the account's names
        client = openai.OpenAI(
            api_key=key,
            base_url=self.upstream.base_url,
            max_retries=0,
            timeout=timeout,
            default_headers=headers_for(key),
            http_client=openai.DefaultHttpxClient(timeout=timeout, event_hooks={"response": [self._refuse_html]}),
        )
        # The SDK takes what it is not given from the process's environment, which another account may own.
        client.organization = self.settings.get("OPENAI_ORG_ID") if own else None
        client.project = self.settings.get("OPENAI_PROJECT_ID") if own else None
        client.admin_api_key = None
        return client

    # --- starting a job ---------------------------------------------------------------------------------------------

    def check(self, spec: TuneSpec) -> None:
        refuse_job_fields(self.name, spec.provider_options, _JOB_FIELDS)
        if spec.adapter != "auto":
            raise UnsupportedError(
                f"the backend {self.name} does not take an adapter ({spec.adapter}): it does not say which weights it "
                "trains; leave it at auto"
            )
        takes = [*self.hyperparameters, "beta"] if spec.method is Method.DPO else [*self.hyperparameters]
        refuse_hyperparameters(self.name, spec.hyperparameters.given(), takes, f" with method {spec.method}")
        if TOKEN_KEY in spec.metadata:
            raise ConfigError(f"metadata.{TOKEN_KEY} is tuneport's own; give it another name")
        super().check(spec)

    def _find_or_upload(self, file: DataFile) -> str:
        name = remote_name(file)
        for known in items_of(self.client.files.list(purpose="fine-tune")):
            if known.filename == name and known.bytes == file.bytes and known.status != "error":
                return str(known.id)
        limit = self.manifest.limits.max_file_bytes
        if limit is not None and file.bytes > limit.value:
            return self._upload_in_parts(file, name)
        with file.path.open("rb") as content:
            return id_of(self.client.files.create(file=(name, content), purpose="fine-tune"))

    def _upload_in_parts(self, file: DataFile, name: str) -> str:
        uploads = self.client.uploads
        upload = id_of(uploads.create(bytes=file.bytes, filename=name, mime_type="text/jsonl", purpose="fine-tune"))
        with file.path.open("rb") as content:
            pieces = iter(lambda: content.read(_PART_BYTES), b"")
            parts = [id_of(uploads.parts.create(upload, data=(name, piece))) for piece in pieces]
        return id_of(uploads.complete(upload, part_ids=parts).file)

    def _validated(self, file_id: str, file: DataFile) -> bool:
        remote = self.client.files.retrieve(file_id)
        id_of(remote)
        if remote.status == "error":
            reason = self.upstream.redact(getattr(remote, "status_details", None) or "no reason given")
            raise DatasetError(
                Problem(str(file.path), None, "", f"{self.name} refuses the file: {reason}", "correct it")
            )
        return bool(
            remote.status != "uploaded"
        )  # the field is deprecated: where it is missing there is nothing to wait for

    def submit(self, spec: TuneSpec, files: Sequence[RemoteFile], *, token: str) -> JobState:
        request = self._request(spec, files, token)
        return self._start(lambda: self._state(self.client.fine_tuning.jobs.create(**request)))

    def _request(self, spec: TuneSpec, files: Sequence[RemoteFile], token: str) -> dict[str, Any]:
        self.check(spec)
        kind = "dpo" if spec.method is Method.DPO else "supervised"
        names = {**self.hyperparameters, "beta": "beta"}
        hyperparameters = {names[name]: value for name, value in spec.hyperparameters.given().items()}
        by_purpose = {file.purpose: file.id for file in files}
        request: dict[str, Any] = {
            "model": spec.model,
            "training_file": by_purpose["training"],
            "method": {"type": kind, kind: {"hyperparameters": hyperparameters}},
            "metadata": {**spec.metadata, TOKEN_KEY: token},
        }
        optional = {"validation_file": by_purpose.get("validation"), "suffix": spec.suffix, "seed": spec.seed}
        request |= {name: value for name, value in optional.items() if value is not None}
        return request | ({"extra_body": spec.provider_options} if spec.provider_options else {})

    def find(self, token: str) -> Found:
        try:
            return self._read(lambda: self._find(token))
        except TuneportError as error:
            return Found.unknown(str(error))

    def _find(self, token: str) -> Found:
        page = self.client.fine_tuning.jobs.list(metadata={TOKEN_KEY: token}, limit=_PAGE)
        # Compared here too: a server that only resembles OpenAI's may ignore the filter.
        for _ in range(_MOST_PAGES):
            for job in page.data:
                if (job.metadata or {}).get(TOKEN_KEY) == token:
                    return Found.found(self._state(job))
            if not page.has_next_page():
                return Found.absent()
            page = page.get_next_page()
        return Found.unknown(f"{self.name} lists more than {_PAGE * _MOST_PAGES} jobs and does not filter by metadata")

    # --- a job's life -----------------------------------------------------------------------------------------------

    def _state(self, job: Any) -> JobState:
        return state_of(self.name, self.statuses, job.to_dict(mode="json"))

    def fetch(self, remote_id: str) -> JobState:
        return self._read(lambda: self._state(self.client.fine_tuning.jobs.retrieve(remote_id)))

    def cancel(self, remote_id: str) -> JobState:
        # The empty body is for Azure, which answers 411 without one.
        jobs = self.client.fine_tuning.jobs
        return self._cancel(remote_id, lambda: self._state(jobs.cancel(remote_id, extra_body={})))

    def pause(self, remote_id: str) -> JobState:
        return self._read(lambda: self._state(self.client.fine_tuning.jobs.pause(remote_id, extra_body={})))

    def resume(self, remote_id: str) -> JobState:
        return self._read(lambda: self._state(self.client.fine_tuning.jobs.resume(remote_id, extra_body={})))

    def delete(self, remote_id: str) -> None:
        """Delete the tuned model. The job itself cannot be deleted at OpenAI."""
        tuned_model = self.fetch(remote_id).tuned_model
        if tuned_model is None:
            raise NotFoundError(
                f"{self.name} made no model in {remote_id}; there is nothing to delete", provider=self.name
            )
        self._delete(lambda: self.client.models.delete(tuned_model))

    def events(self, remote_id: str, *, after: str | None = None) -> Iterable[JobEvent]:
        """The server lists the newest first, so the pages are turned back until `after` shows up."""
        return [event_of(raw) for raw in self._read(lambda: self._raw_events(remote_id, after))]

    def _raw_events(self, remote_id: str, after: str | None) -> list[dict[str, Any]]:
        newest_first: list[dict[str, Any]] = []
        for event in items_of(self.client.fine_tuning.jobs.list_events(remote_id, limit=_PAGE)):
            if event.id == after:
                break
            newest_first.append(event.to_dict(mode="json"))
        return newest_first[::-1]

    def metrics(self, remote_id: str) -> Sequence[MetricPoint]:
        """From the result file, once there is one; until then from the events, which may leave steps out."""
        for file_id in self.fetch(remote_id).result_files:
            try:
                return metrics_of_csv(self.read_file(file_id))
            except (NotFoundError, RejectedError):
                continue  # deleted, or not ours to download: the events still tell
        events = self._read(lambda: self._raw_events(remote_id, None))
        by_step = {event["data"]["step"]: event["data"] for event in events if (event.get("data") or {}).get("step")}
        return [metric_of(by_step[step]) for step in sorted(by_step)]

    def checkpoints(self, remote_id: str) -> Sequence[Checkpoint]:
        listed = self._read(
            lambda: list(items_of(self.client.fine_tuning.jobs.checkpoints.list(remote_id, limit=_PAGE)))
        )
        return sorted((checkpoint_of(item.to_dict(mode="json")) for item in listed), key=lambda item: item.step)

    # --- the account ------------------------------------------------------------------------------------------------

    def list_jobs(self) -> Iterator[JobState]:
        page = self._read(lambda: self.client.fine_tuning.jobs.list(limit=_PAGE))
        while True:
            with self._translating():
                states = [self._state(job) for job in page.data]
            yield from states
            if not page.has_next_page():
                return
            page = self._read(page.get_next_page)

    def list_files(self) -> Iterable[RemoteFile]:
        """The account's fine-tuning files. The list has no hash: `sha256` is empty, and `purpose` always training."""
        files = self._read(lambda: list(items_of(self.client.files.list(purpose="fine-tune"))))
        return [
            RemoteFile(id=file.id, purpose="training", sha256="", filename=file.filename, bytes=file.bytes)
            for file in files
        ]

    def list_models(self) -> Iterable[RemoteModel]:
        return self._read(lambda: [model_of(model.to_dict(mode="json")) for model in self.client.models.list()])

    def read_file(self, file_id: str) -> bytes:
        return self._read(lambda: bytes(self.client.files.content(file_id).content))

    def delete_file(self, file_id: str) -> None:
        self._delete(lambda: self.client.files.delete(file_id))
