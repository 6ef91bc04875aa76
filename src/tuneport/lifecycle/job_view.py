"""The view of a job: what the store has of it, in one object that is built once, for every surface that shows it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from tuneport.lifecycle.schema.records import JobRecord, RequestRecord
from tuneport.types import JobState, JobStatus, Progress

NO_REASON = "the backend gives no reason"


@dataclass(frozen=True)
class JobView:
    """A job with the client's request that it was made from, if there is one; or a request without a job.

    At least one of the two is there: a job from the command line has no request.
    """

    record: JobRecord | None
    request: RequestRecord | None

    @property
    def _either(self) -> JobRecord | RequestRecord:
        found = self.record or self.request
        assert found is not None
        return found

    @property
    def id(self) -> str:
        return self._either.id

    @property
    def backend(self) -> str | None:
        return self._either.backend

    @property
    def created_at(self) -> datetime:
        return self._either.created_at

    @property
    def requested_at(self) -> datetime:
        """Return when a client asked for it; for a job from the command line, when it was made."""
        return self.created_at if self.request is None else self.request.created_at

    @property
    def finished_at(self) -> datetime | None:
        return self._either.finished_at

    @property
    def status(self) -> JobStatus:
        return self._either.job_status

    @property
    def is_unfinished(self) -> bool:
        return not self.status.terminal

    @property
    def model(self) -> str | None:
        """Return the backend's id of the model that is tuned, or None before it is known."""
        return None if self.record is None else self.record.model

    @property
    def requested_model(self) -> str:
        return str(self.record.spec["model"] if self.request is None and self.record else self._body["model"])

    @property
    def suffix(self) -> str | None:
        given = self._body.get("suffix") if self.record is None else self.record.spec.get("suffix")
        return None if given is None else str(given)

    @property
    def state(self) -> JobState | None:
        return None if self.record is None else self.record.job_state

    @property
    def progress(self) -> Progress:
        state = self.state
        return Progress() if state is None else state.progress

    @property
    def failure(self) -> dict[str, Any]:
        """Return what its backend or the gateway said about the failure: `code`, `message`, `param`. The message names
        files by their ids."""
        told: dict[str, Any] = self._either.error or {}
        return told | {"message": self.name_client_file(told.get("message") or NO_REASON)}

    @property
    def model_name(self) -> str:
        """Return the tuned model's name for clients. The model may not be there yet."""
        return job_tuned_model_name(self.gateway_model_name, None if self.record is None else self.record.tuned_model)

    @property
    def gateway_model_name(self) -> str:
        """Return the name that the gateway gave the tuned model; for jobs from the command line, the backend's."""
        if self.request is not None:
            return self.request.tuned_model
        return (None if self.record is None else self.record.tuned_model) or ""

    def name_client_file(self, text: str) -> str:
        """Return a message about the data that names the client's file instead of its path on this disk."""
        for name in ("training", "validation"):
            if sha256 := self._body.get(f"{name}_sha256"):
                text = re.sub(rf"[^\s'\"]*/{sha256}\.jsonl", self._body[f"{name}_file"], text)
        return text

    @property
    def _body(self) -> dict[str, Any]:
        return {} if self.request is None else self.request.body


def job_tuned_model_name(asked: str, upstream: str | None) -> str:
    """Return OpenAI's own name of a model that was tuned there; else the one that the gateway gave it."""
    return upstream if upstream is not None and is_job_openai_model_name(upstream) else asked


def is_job_openai_model_name(name: str) -> bool:
    """Return whether the name has OpenAI's shape, `ft:BASE:ORGANIZATION:SUFFIX:CODE`; other backends' names have
    another one."""
    return name.startswith("ft:") and name.count(":") >= 4
