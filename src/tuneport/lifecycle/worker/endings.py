"""Ends of jobs that their provider never had, or is not known to have."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

from tuneport.errors import TuneportError
from tuneport.lifecycle.planning.alternatives import JobAlternative, explain_job_alternatives
from tuneport.lifecycle.schema.records import JobRecord
from tuneport.lifecycle.worker.event_collection import JobEventCollector
from tuneport.lifecycle.worker.leases import JobLease
from tuneport.lifecycle.worker.recording import FAILED_AGAIN
from tuneport.types import JobError, JobStatus, now

ONLY_ELSEWHERE = ("training_not_available", "daily_rate_limit_exceeded")
"""Codes of refusals that no waiting and no mending helps today: the job fails, and the other backends are ranked."""


class JobEndings:
    """`alternatives` ranks the other backends for a job that its own one does not take."""

    def __init__(
        self, events: JobEventCollector, alternatives: Callable[[JobRecord], Sequence[JobAlternative]]
    ) -> None:
        self.events, self._alternatives = events, alternatives

    def end_cancelled_job(self, lease: JobLease, recheck_at: datetime | None = None) -> JobRecord:
        unclear = lease.row.job_submission.unclear
        lost = f"Cancelled; {lease.row.backend} lists no job of its lost submits so far"
        self.events.add_tuneport_event(lease.row.id, lost if unclear else "Cancelled before anything was started")
        return lease.write(status=JobStatus.CANCELLED, finished_at=now(), note=None, recheck_at=recheck_at)

    def end_given_up_job(self, lease: JobLease, recheck_at: datetime | None) -> JobRecord:
        """End a job that a person cancelled while it is not known whether it was started, and say so."""
        backend = lease.row.backend
        told = f"Cancelled here; whether {backend} runs a job of it is not known: look at the list of jobs there"
        self.events.add_tuneport_event(lease.row.id, told, level="warning")
        return lease.write(status=JobStatus.CANCELLED, finished_at=now(), note=told, recheck_at=recheck_at)

    def end_failed_job(self, lease: JobLease, error: TuneportError) -> JobRecord:
        """End a job that was never started. If only another provider can help, the reason names what it costs there.

        If the provider takes no jobs any more, its files are deleted: it will never train on them.
        """
        code = getattr(error, "code", None) or type(error).__name__
        elsewhere = list(self._alternatives(lease.row)) if code in ONLY_ELSEWHERE else []
        bound = code in ONLY_ELSEWHERE and lease.row.tune_spec.from_checkpoint is not None
        message = explain_job_alternatives(str(error), elsewhere, bound_to=lease.row.backend if bound else None)
        details = {"alternatives": [alternative.as_dict() for alternative in elsewhere]} if elsewhere else {}
        failure = JobError(
            code=code,
            message=message,
            fault="provider" if error.exit_code == 3 else "user",
            retryable=getattr(error, "retryable", False),
            details=details,
        )
        self.events.add_tuneport_event(lease.row.id, message, level="error", type_="failed", data=details)
        unclear = lease.row.job_submission.unclear
        return lease.write(
            status=JobStatus.FAILED,
            recheck_at=now() + timedelta(seconds=FAILED_AGAIN) if unclear else None,
            error=failure.model_dump(mode="json"),
            finished_at=now(),
            note=None,
            delete_files=lease.row.delete_files or code == "training_not_available",
        )
