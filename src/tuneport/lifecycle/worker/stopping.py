"""Stops a job that surely overfits, if `stop_on_overfit` is set, keeps its best checkpoint, and says what that saves.

The worker that drives or polls the job checks its curve now and then, under the row's lease. The request to stop is
written down before the backend is asked, as every requested action is, so that a killed process loses nothing.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import datetime, timedelta

from tuneport.backends.base import FineTuneBackend
from tuneport.curves import CurveVerdict, judge_curve
from tuneport.errors import ProviderError, RateLimitError, UnsupportedError
from tuneport.formatting import duration, hours, money
from tuneport.lifecycle.accounting.budgets import project_job_cost
from tuneport.lifecycle.schema.records import JobRecord
from tuneport.lifecycle.worker.event_collection import JobEventCollector
from tuneport.lifecycle.worker.leases import JobLease
from tuneport.types import Checkpoint, JobStatus, Model, now

LOOK_SECONDS, LOOK_SECONDS_REMOTE = 2.0, 60.0
"""Between two looks at a curve: on one's own machine the metrics are a file; elsewhere a request, and jobs take
hours."""
WISH = "stop"
OVERFITTING = "overfitting"
"""The type of the events that tell it."""


class StoppedEarly(Model):
    """A job that was stopped for overfitting: where, which checkpoint is kept, and what was not spent.

    If `usd_saved` is None, `because` says why it is unknown.
    """

    step: int
    total_steps: int | None = None
    best_step: int
    checkpoint: str
    checkpoint_step: int
    model: str | None = None
    usd_saved: float | None = None
    seconds_saved: float | None = None
    because: str = ""

    def __str__(self) -> str:
        of = "" if self.total_steps is None else f" of {self.total_steps:,}"
        kept = f"checkpoint {self.checkpoint} of step {self.checkpoint_step:,}"
        kept += "" if self.model is None else f" ({self.model})"
        saved = "what that saves is unknown" if self.usd_saved is None else f"that saves about {money(self.usd_saved)}"
        return f"stopped at step {self.step:,}{of}, kept: {kept}; {saved} ({self.because})"


class OverfittingJobStop:
    def __init__(self, events: JobEventCollector, *, clock: Callable[[], datetime] = now) -> None:
        self.events, self.clock = events, clock

    def check_curve(self, lease: JobLease, backend: FineTuneBackend) -> JobRecord:
        """Judge the curve of a running job if that is asked for and due, and record the request to stop if it overfits.

        A backend that has no metrics now is asked again later. Raises RateLimitError.
        """
        row, moment = lease.row, self.clock()
        pause = LOOK_SECONDS_REMOTE if backend.manifest.third_party else LOOK_SECONDS
        if not row.stop_on_overfit or row.job_status is not JobStatus.RUNNING or row.remote_id is None:
            return row
        if row.requested_action is not None or row.cancel_requested_at is not None or row.stopped_early is not None:
            return row
        if row.curve_at is not None and moment - row.curve_at < timedelta(seconds=pause):
            return row
        try:
            verdict = judge_curve(backend.metrics(row.remote_id), ended=False)
            kept = _best(verdict, backend, row.remote_id) if verdict.sure else None
        except RateLimitError:
            raise
        except (ProviderError, UnsupportedError) as error:
            self._tell_once(row, f"Its curve cannot be judged: {error}", "curve-unread")
            return lease.write(curve_at=moment)
        curve = verdict.model_dump(mode="json")
        if not verdict.sure:
            return lease.write(curve=curve, curve_at=moment)
        if kept is None:  # to cancel it now would throw all of it away
            goes_on = (
                f"{backend.name} has no checkpoint of it to keep, so it continues; `tuneport cancel {row.id}` stops it"
            )
            self._tell_once(row, f"{_capital(verdict)}; but {goes_on}", "goes-on")
            return lease.write(curve=curve, curve_at=moment)
        stopped = _stopped(row, verdict, kept)
        self.events.add_tuneport_event(
            row.id,
            f"{_capital(verdict)}: {stopped}",
            level="warning",
            type_=OVERFITTING,
            data={"curve": curve, "stopped_early": stopped.model_dump(mode="json")},
            once=OVERFITTING,
        )
        changes = {"requested_action": WISH, "stopped_early": stopped.model_dump(mode="json"), "due_at": moment}
        return lease.write(curve=curve, curve_at=moment, **changes)

    def withdraw_stop_note(self, lease: JobLease) -> JobRecord:
        """Remove the note of the stop if the job had ended by then or may not be stopped; call it right after the
        request. A job that still runs is checked again."""
        row = lease.row
        refused = not row.job_status.terminal and row.requested_action is None  # see `JobWorker._ask`
        if not refused and row.job_status not in (JobStatus.SUCCEEDED, JobStatus.FAILED):
            return row
        why = f"{row.note}, so it continues" if refused else "it had ended before it could be stopped"
        self._tell_once(row, f"Nothing was stopped or saved: {why}", "not-stopped")
        return lease.write(stopped_early=None)

    def _tell_once(self, row: JobRecord, message: str, once: str) -> None:
        self.events.add_tuneport_event(
            row.id, message, level="warning", type_=OVERFITTING, once=f"{OVERFITTING}-{once}"
        )


def _capital(verdict: CurveVerdict) -> str:
    said = str(verdict)
    return said[0].upper() + said[1:]


def _best(verdict: CurveVerdict, backend: FineTuneBackend, remote_id: str) -> Checkpoint | None:
    """Return the checkpoint nearest to the best step, of those that the backend has."""
    try:
        found = list(backend.checkpoints(remote_id))
    except UnsupportedError:
        return None
    best = verdict.best_step or 0
    return min(found, key=lambda checkpoint: (abs(checkpoint.step - best), checkpoint.step), default=None)


def _stopped(row: JobRecord, verdict: CurveVerdict, kept: Checkpoint) -> StoppedEarly:
    progress = row.job_state.progress if row.job_state is not None else None
    step = (progress.step if progress else None) or verdict.last_step
    total = _total_steps(row)
    usd, because = _saved(row, step, total)
    return StoppedEarly(
        step=step,
        total_steps=total,
        best_step=verdict.best_step or 0,
        checkpoint=kept.id,
        checkpoint_step=kept.step,
        model=kept.model,
        usd_saved=usd,
        seconds_saved=progress.seconds_left if progress else None,
        because=because,
    )


def _total_steps(row: JobRecord) -> int | None:
    """Return the total as the backend tells it, else from the rows and hyperparameters: OpenAI names no total."""
    state = row.job_state
    if state is None or state.progress.total_steps is not None:
        return None if state is None else state.progress.total_steps
    numbers = state.hyperparameters
    epochs, batch = numbers.get("n_epochs", numbers.get("epochs")), numbers.get("batch_size")
    if not isinstance(epochs, int) or not isinstance(batch, int) or batch < 1:
        return None
    return math.ceil(row.prepared_data.training.rows / batch) * epochs


def _saved(row: JobRecord, step: int, total: int | None) -> tuple[float | None, str]:
    """Return the part of the job's projected cost that falls on steps it will not take."""
    terms, expected = row.job_estimate, project_job_cost(row)
    left = row.job_state.progress.seconds_left if row.job_state is not None else None
    if terms is None or terms.billing is None:
        return None, "no price of this job is known"
    if terms.own_machine:
        if left is None:
            return None, "how long the rest would have taken is not known"
        if terms.usd_per_hour is None:
            return 0.0, f"your own machine, and about {duration(left)} of it"
        return left / 3600 * terms.usd_per_hour, f"{hours(left)} at {money(terms.usd_per_hour)}"
    if expected is None:
        return None, "no price of this job is known"
    if not total:
        return None, f"{row.backend} does not tell how many steps there are"
    rest = max(0, total - step) / total
    told = f"{rest:.0%} of the steps are not trained, of {money(expected.usd)} {expected.because}"
    if terms.cancelled_pays != "steps_done":
        return None, f"{row.backend} does not say what it bills for a cancelled job; {told}"
    return expected.usd * rest, told
