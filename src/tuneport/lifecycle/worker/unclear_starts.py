"""Starts without an answer: it is unknown whether the provider runs the job, and a second start would be paid.

They are settled in this order, and nothing is assumed:

1. The provider's jobs are looked through for the token. The job that carries it is the one.
2. While none does, nothing is started for the manifest's `settle_seconds`: lists lag, and a request may be carried out
   long after the connection was given up. A clock that cannot be set measures it.
3. Then it is started again only if the list shows that this provider keeps tokens, and no listed job without a token
   could be the one. Otherwise a person decides (`tuneport resolve`).
4. Later the list is looked through once more, for a second job with the token.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Any

from tuneport.backends.base import FineTuneBackend
from tuneport.backends.hosted.finding import carries_submit_token
from tuneport.errors import ConfigError, UnavailableError
from tuneport.formatting import duration, money
from tuneport.lifecycle.schema.machine_clock import StoreClockReading, read_store_machine_clock
from tuneport.lifecycle.schema.records import JobRecord
from tuneport.lifecycle.schema.submission import JobSubmission, SubmissionCandidate
from tuneport.lifecycle.store.store import Store
from tuneport.lifecycle.worker.event_collection import JobEventCollector
from tuneport.lifecycle.worker.leases import JobLease
from tuneport.types import Found, JobState, RemoteFile, now

SETTLE_VARIABLE = "TUNEPORT_SETTLE_SECONDS"
MOST_STARTS = 3
"""A job is started by itself so often; then a person is asked, however certain it looks."""
LOOKS = 20
"""The list is looked through at least so often in the time that it is given, and more often at first."""
ASKED_AGAIN = 600.0
"""Seconds between looks while a person is asked: the job may still show itself."""
FIRST_PAUSE, GROWTH = 0.5, 1.5


class UnclearStarts:
    """Settles starts without an answer. `clock` gives the time of day, `machine_clock` a reading that cannot be set;
    tests pass both."""

    def __init__(
        self,
        store: Store,
        events: JobEventCollector,
        *,
        clock: Callable[[], datetime] = now,
        machine_clock: Callable[[], StoreClockReading] = read_store_machine_clock,
    ) -> None:
        self.store, self.events = store, events
        self._now, self._machine_clock = clock, machine_clock

    def submit_intent_columns(self, row: JobRecord) -> dict[str, Any]:
        """Return the columns that are written before a request that may start the job is sent."""
        sent = row.job_submission.mark_sent(self._machine_clock())
        # Due, since a question may have taken it from the pollers.
        due = {} if row.due_at is not None else {"due_at": self._now()}
        return {"submit_intent_at": self._now(), "submission": sent.model_dump(mode="json"), **due}

    def seconds_without_answer(self, row: JobRecord) -> float:
        """Return for how many seconds the answer to the job's start has been missing, as this machine knows."""
        return row.job_submission.seconds_waited(self._machine_clock())

    # --- what became of it ------------------------------------------------------------------------------------------

    def settle_start(self, lease: JobLease, backend: FineTuneBackend) -> JobState | JobRecord | None:
        """Return the job to adopt, or the row if there is something to wait for, or None to start it again."""
        settle = unclear_start_wait(backend)
        reading = self._machine_clock()
        submission = lease.row.job_submission.with_clock(reading)
        since = submission.seconds_since_look(reading)
        giving_up = submission.question is not None and lease.row.cancel_requested_at is not None
        if settle and since is not None and since < _pause(submission.looks, settle) and not giving_up:
            return lease.row
        found = backend.find(lease.row.token)
        submission = submission.mark_looked(reading, absent=found.answer == "absent")
        if found.answer == "found" and found.state is not None:
            return self._found(lease, backend, submission, found, found.state)
        if found.answer == "unknown":
            if settle and submission.seconds_waited(reading) >= settle:
                return self._ask(lease, backend, submission, f"it cannot be looked for ({found.reason})")
            note = (
                f"it is not known whether {backend.name} has the job ({found.reason}); nothing more is started, and "
                f"{backend.name} is asked again"
            )
            return _keep(lease, submission, note=note)
        if not settle:
            told = "The interrupted submit did not arrive"
            self.events.add_tuneport_event(
                lease.row.id, told, level="warning", once=f"absent {lease.row.submit_attempts}"
            )
            _keep(lease, submission, submit_intent_at=None)
            return None
        return self._absent(lease, backend, submission, found, settle, reading)

    def find_earlier_start(self, lease: JobLease, backend: FineTuneBackend) -> JobState | JobRecord | None:
        """Ask for the job once more if an earlier start of it was unclear: it may have come up since.

        Return the job to adopt, or the row if that is unknown now, or None to start it.
        """
        if not lease.row.job_submission.unclear or not unclear_start_wait(backend):
            return None
        found = backend.find(lease.row.token)
        if found.answer == "found" and found.state is not None:
            return self._found(lease, backend, lease.row.job_submission, found, found.state)
        if found.answer == "unknown":
            return lease.write(
                note=f"waiting: {backend.name} could not be asked whether the job was started ({found.reason})"
            )
        return None

    def _found(
        self, lease: JobLease, backend: FineTuneBackend, submission: JobSubmission, found: Found, state: JobState
    ) -> JobState:
        told = f"Found the job that an interrupted submit had started: {state.remote_id}"
        self.events.add_tuneport_event(lease.row.id, told, once=f"found {state.remote_id}")
        _keep(lease, submission)
        self.report_duplicates(lease, backend, found.others, beside=state.remote_id)
        return state

    def _absent(
        self,
        lease: JobLease,
        backend: FineTuneBackend,
        submission: JobSubmission,
        found: Found,
        settle: float,
        reading: StoreClockReading,
    ) -> JobRecord | None:
        row = lease.row
        candidates = self._candidates(row, backend, found, submission)
        over = submission.seconds_waited(reading) >= settle and submission.absences > 1
        submission = submission.model_copy(update={"candidates": candidates})
        why = _why_undecided(backend.name, candidates, found, submission, row.submit_attempts)
        if candidates or (over and why is not None):
            return self._ask(lease, backend, submission, str(why))
        if not over:
            left = self._now() + timedelta(seconds=max(0.0, settle - submission.seconds_waited(reading)))
            note = (
                f"the answer to the submit was lost and {backend.name} does not list the job so far; nothing is "
                f"started again before {left:%Y-%m-%d %H:%M} UTC"
            )
            due = {} if row.due_at is not None else {"due_at": self._now()}  # as in `intent`
            return _keep(lease, submission.model_copy(update={"question": None}), note=note, **due)
        told = (
            f"{backend.name} has not listed the job for {duration(settle)} since the answer was lost, and it keeps the "
            "tokens of other jobs: it is started again"
        )
        self.events.add_tuneport_event(row.id, told, level="warning", once=f"absent {row.submit_attempts}")
        _keep(lease, submission, submit_intent_at=None)
        return None

    def _candidates(
        self, row: JobRecord, backend: FineTuneBackend, found: Found, submission: JobSubmission
    ) -> tuple[SubmissionCandidate, ...]:
        """Return the listed jobs without a token that may be this one: of no other row, and of the same training."""
        files = self.store.files.list_job_files(row.id)
        alike = [job for job in found.unmarked if is_unclear_start_candidate(row, files, job)]
        if not alike:
            return ()
        known = self.store.jobs.list_known_remote_ids(backend.name, [job.remote_id for job in alike])
        return tuple(
            SubmissionCandidate.from_state(job)
            for job in alike
            if job.remote_id not in known and job.remote_id not in submission.dismissed
        )

    def _ask(self, lease: JobLease, backend: FineTuneBackend, submission: JobSubmission, why: str) -> JobRecord:
        question = _question(lease.row, backend.name, submission.candidates, why)
        self.events.add_tuneport_event(
            lease.row.id, question, level="warning", type_="unresolved", once=f"asked {question}"
        )
        # Pollers leave it alone, but for a look now and then: `recheck`.
        again = self._now() + timedelta(seconds=ASKED_AGAIN)
        kept = submission.model_copy(update={"question": question})
        return _keep(lease, kept, note=question, due_at=None, recheck_at=again)

    def foreign_job_reason(self, row: JobRecord, backend: FineTuneBackend, state: JobState) -> str | None:
        """Return why a job that an answer or a person names cannot be the row's, or None."""
        mark = backend.mark_of(state)
        if mark is not None and not carries_submit_token(mark, row.token):
            return f"{state.remote_id} carries the token of another job"
        if self.store.jobs.list_known_remote_ids(backend.name, [state.remote_id], besides=row.id):
            return f"{state.remote_id} is another job of this store"
        return None

    def job_difference(self, row: JobRecord, state: JobState) -> str | None:
        """Return in what a job differs from the row's, as far as the provider tells it rightly, or None."""
        if not _same_files(self.store.files.list_job_files(row.id), state):
            return f"{state.remote_id} trains on another file"
        if not is_unclear_start_candidate(row, self.store.files.list_job_files(row.id), state):
            return f"{state.remote_id} has another model or seed ({state.model})"
        return None

    def misnamed_job_reason(self, lease: JobLease, backend: FineTuneBackend, state: JobState) -> str | None:
        """Return why the job that the provider answered a submit with is not adopted, or None. It is kept in mind."""
        row = lease.row
        reason = self.foreign_job_reason(row, backend, state)
        if reason is None and not _same_files(self.store.files.list_job_files(row.id), state):
            reason = f"{state.remote_id} trains on another file"
        if reason is not None:
            _keep(
                lease,
                row.job_submission.model_copy(update={"named": SubmissionCandidate.from_state(state), "unclear": True}),
            )
        return reason

    # --- what a person says -----------------------------------------------------------------------------------------

    def record_not_started(self, lease: JobLease) -> JobRecord:
        """Write down that the job was not started, on a person's word: the next step starts it."""
        submission = lease.row.job_submission
        dismissed = (*submission.dismissed, *(each.remote_id for each in submission.candidates))
        self.events.add_tuneport_event(lease.row.id, "A person said that the job was not started; it is started again")
        update = {
            "unclear": True,
            "question": None,
            "candidates": (),
            "named": None,
            "dismissed": tuple(dict.fromkeys(dismissed)),
        }
        return _keep(
            lease,
            submission.model_copy(update=update),
            submit_intent_at=None,
            submit_attempts=0,
            note=None,
            due_at=self._now(),
        )

    # --- second jobs ------------------------------------------------------------------------------------------------

    def next_duplicate_check(self, row: JobRecord, backend: FineTuneBackend) -> datetime | None:
        """Return when to look for a second job with the token: once all that is under way must have shown."""
        if not row.job_submission.unclear:
            return None
        return self._now() + timedelta(seconds=unclear_start_wait(backend))

    def seconds_until_settled(self, lease: JobLease, backend: FineTuneBackend) -> float:
        """Return the seconds until all that is under way must have shown itself, on a clock that runs from now on."""
        reading = self._machine_clock()
        submission = lease.row.job_submission.with_clock(reading)
        _keep(lease, submission)
        return unclear_start_wait(backend) - submission.seconds_waited(reading)

    def look_for_duplicates(self, lease: JobLease, backend: FineTuneBackend) -> None:
        """Report further jobs that carry the row's token. Raises UnavailableError if the provider does not say."""
        found = backend.find(lease.row.token)
        if found.answer == "unknown":
            raise UnavailableError(found.reason, provider=backend.name)
        if found.state is None:
            return
        ours = lease.row.remote_id
        others = [job for job in (found.state, *found.others) if job.remote_id != ours]
        self.report_duplicates(lease, backend, others, beside=ours)

    def report_duplicates(
        self, lease: JobLease, backend: FineTuneBackend, jobs: Sequence[JobState], *, beside: str | None
    ) -> None:
        submission = lease.row.job_submission
        new = [job for job in jobs if job.remote_id not in submission.duplicates]
        for job in new:
            row = lease.row
            what = "has a second job for" if beside else f"has a job, although it is {row.status} here, for"
            besides = f", beside {beside}" if beside else ""
            told = (
                f"{backend.name} {what} {row.id}: {job.remote_id} ({job.raw_status}){besides}; it may cost "
                f"{_price(row)} more; to stop it: tuneport cancel {job.remote_id} --backend {backend.name}"
            )
            self.events.add_tuneport_event(
                lease.row.id, told, level="warning", type_="duplicate", once=f"duplicate {job.remote_id}"
            )
        if new:
            duplicates = (*submission.duplicates, *(job.remote_id for job in new))
            _keep(lease, submission.model_copy(update={"duplicates": duplicates}))


def unclear_start_wait(backend: FineTuneBackend) -> float:
    """Return how long nothing is started again after a lost answer; 0 if ABSENT is certain at once."""
    given = backend.settings.get(SETTLE_VARIABLE)
    if not given or not backend.manifest.settle_seconds:
        return backend.manifest.settle_seconds
    try:
        seconds = float(given)
    except ValueError:
        seconds = -1.0
    if not 0 < seconds < float("inf"):
        raise ConfigError(f"{SETTLE_VARIABLE} is {given!r}, which is no number of seconds above 0; correct or unset it")
    return seconds


def is_unclear_start_candidate(row: JobRecord, files: Sequence[RemoteFile], state: JobState) -> bool:
    """Return whether a listed job may be the row's: nothing that it tells contradicts the spec.

    Its time is not compared: the clocks of two machines may differ by days.
    """
    spec = row.tune_spec
    if not _same_files(files, state):
        return False
    named = state.model
    if spec.from_checkpoint is None and named and not (named.startswith(row.model) or row.model.startswith(named)):
        return False
    seed = state.details.get("seed")
    return seed is None or spec.seed is None or seed == spec.seed


def _same_files(files: Sequence[RemoteFile], state: JobState) -> bool:
    named: dict[str, str] = {file.purpose: file.id for file in files}
    for purpose, key in (("training", "training_file"), ("validation", "validation_file")):
        theirs = state.details.get(key)
        if theirs and named.get(purpose) is not None and theirs != named[purpose]:
            return False
    return True


def _why_undecided(
    name: str, candidates: Sequence[SubmissionCandidate], found: Found, submission: JobSubmission, starts: int
) -> str | None:
    if candidates:
        listed = ", ".join(str(each) for each in candidates[:3])
        more = f" and {len(candidates) - 3} more" if len(candidates) > 3 else ""
        kind = "job that may be it" if len(candidates) == 1 else "jobs, each of which may be it"
        return f"{name} lists {len(candidates)} {kind}: {listed}{more}"
    if submission.named is not None:
        return f"{name} answered with {submission.named}, which does not look like it, and lists no other"
    if not found.marks_seen:
        return f"the job may be running unseen: {name} does not list it, and none of its jobs shows tuneport's token"
    if starts >= MOST_STARTS:
        return f"{starts} starts had no answer"
    return None


def _question(row: JobRecord, name: str, candidates: Sequence[SubmissionCandidate], why: str) -> str:
    price = _price(row)
    one = candidates[0].remote_id if len(candidates) == 1 else "ID"
    return (
        f"it is not known whether {name} started {row.id}: {why}. If it did: tuneport resolve {row.id} --started {one} "
        f"(costs {price}, once). If not: tuneport resolve {row.id} --not-started (starts it again for {price}; if it "
        "was started after all, both are paid)"
    )


def _price(row: JobRecord) -> str:
    quote = row.job_quote
    if quote is None or quote.expected is None:
        return "a price that is not known"
    up_to = "" if not quote.high or quote.high <= quote.expected else f" (up to {money(quote.high)})"
    return f"about {money(quote.expected)}{up_to}"


def _pause(looks: int, settle: float) -> float:
    return min(FIRST_PAUSE * GROWTH ** min(looks, 40), settle / LOOKS)


def _keep(lease: JobLease, submission: JobSubmission, **columns: object) -> JobRecord:
    return lease.write(submission=submission.model_dump(mode="json"), **columns)
