"""Run a case and judge it: one fault at one request of the run, then what is left on both sides.

What counts is counted at the emulator: jobs that it accepted, bytes that it stored, requests and when they came.
"""

from __future__ import annotations

import re
import shutil
import tempfile
from collections import Counter
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from tests.faults.clock import Clock, StuckError, Wait
from tests.faults.journey import BACKENDS, KEYS, Report, open_workspace, provider_of, travel
from tests.faults.kinds import Kind
from tuneport.backends.hosted.backend import HostedBackend
from tuneport.lifecycle.schema.tables import JobRow
from tuneport.lifecycle.store.store import Store
from tuneport.testing.emulators import OpenAIEmulator, TogetherEmulator
from tuneport.testing.emulators.faults import EmulatorExchange
from tuneport.types import JobEvent

EMULATORS = {"openai": OpenAIEmulator, "together": TogetherEmulator}
PROVIDERS = list(EMULATORS)
ROUTES = list(BACKENDS)
START = 1_795_600_000.0  # the clock's beginning, 2026-11-25
MEMORY = "/dev/shm" if Path("/dev/shm").is_dir() else None  # the store syncs after each write; here that costs nothing
PACE = 2.0  # seconds in each state of a job
_ID = re.compile(r"(?<=/)(?:file-|ftjob-|ft-|upload_)[0-9a-f-]+")


@dataclass
class Run:
    """What is left of one run, on the user's side and on the emulator's."""

    provider: str
    emulator: OpenAIEmulator | TogetherEmulator
    report: Report = field(default_factory=Report)
    rows: list[JobRow] = field(default_factory=list)
    events: list[tuple[str, JobEvent]] = field(default_factory=list)  # of the last job, each with its origin
    waits: list[Wait] = field(default_factory=list)
    stuck: str | None = None  # why there was no end

    @property
    def labels(self) -> list[str]:
        return labels(self.emulator.log)


def label(exchange: EmulatorExchange) -> str:
    path = _ID.sub("{id}", exchange.path)
    return f"{exchange.method} {path.removeprefix('/v1')}"


def labels(log: list[EmulatorExchange]) -> list[str]:
    """Each request's method and path; the second of the same name is `#2` and so on."""
    seen: Counter[str] = Counter()
    named = []
    for exchange in log:
        name = label(exchange)
        seen[name] += 1
        named.append(name if seen[name] == 1 else f"{name} #{seen[name]}")
    return named


def new_emulator(route: str, *, earlier: bool = True, **switches: Any) -> Any:
    provider = provider_of(route)
    options: dict[str, Any] = {"exact_tokens": False} if provider == "openai" else {}
    emulator = EMULATORS[provider](key=KEYS[provider], pace=PACE, clock=lambda: START, **options, **switches)
    if earlier:
        emulator.earlier.append(earlier_job(provider))
    return emulator


@cache
def earlier_job(provider: str) -> dict[str, Any]:
    """A finished job that the account's list has, with another token: so the provider is known to keep tokens."""
    emulator = run(provider, earlier=False).emulator
    (job,) = emulator.jobs.values()
    if provider == "openai":
        return {**emulator._show(job), "id": "ftjob-earlier", "metadata": {"tuneport_token": "e" * 32}}
    return {
        **job.job_document(emulator.now()),
        "id": "ft-earlier",
        "suffix": "bench-tpeeeeeeeeee",
        "model_output_name": "m",
    }


def run(
    route: str,
    *faults: tuple[Kind, int],
    make: type[HostedBackend] | None = None,
    earlier: bool = True,
    **switches: Any,
) -> Run:
    """One run with each of `faults` at its request, counted from 0 in the order in which they arrive."""
    emulator = new_emulator(route, earlier=earlier, **switches)
    done = Run(provider_of(route), emulator)

    def advance(seconds: float) -> float:
        emulator.advance(seconds)
        if not emulator.listening:
            emulator.start()  # whoever found nobody there has waited
        if len(emulator.log) > 1000:
            raise StuckError("a thousand requests")
        return emulator.now()

    clock = Clock(START, advance)
    folder = Path(tempfile.mkdtemp(prefix="tuneport-faults-", dir=MEMORY))
    emulator.start()
    timeout = min((kind.timeout for kind, _ in faults), default=60.0)
    try:
        for kind, position in faults:
            if kind.name != "refused":
                emulator.fail(**kind.arm, path="**", skip=position)
            elif position:
                emulator.fail("down_after", path="**", skip=position - 1)
            else:
                emulator.stop()
        with open_workspace(route, emulator.base_url, folder, clock, timeout=timeout, make=make) as workspace:
            try:
                done.report = travel(workspace, route, folder)
            except StuckError as error:
                done.stuck = f"it went in circles: {error}"
            except Exception as error:  # a crash is a verdict, too
                done.stuck = f"it crashed: {type(error).__name__}: {error}"
            look(done, workspace.store)
        done.waits = clock.waits
    finally:
        emulator.stop()
        shutil.rmtree(folder, ignore_errors=True)
    return done


def look(done: Run, store: Store) -> None:
    """Read the store: its rows, newest first, and the newest one's events."""
    done.rows = store.jobs.all()
    if done.rows:
        own = store.events.list_job_events(done.rows[0].id)
        done.events = [("tuneport" if event.id.startswith("tuneport-") else "backend", event) for _, event in own]


def judge(done: Run, clean: Run | None, kind: Kind | None = None) -> list[str]:
    """What is wrong with a run, in words; nothing where it went as it must. `clean` is the run without a fault."""
    if done.stuck:
        return [done.stuck]
    outcome = kind.outcome if kind else "ridden out"
    wrong = _money(done) + _user(done, outcome) + _events(done)
    if clean is not None:
        for verb, result in clean.report.results.items():
            if verb not in done.report.results:
                wrong.append(f"{verb} never succeeded")
            elif done.report.results[verb] != result:
                wrong.append(f"{verb} gave {str(done.report.results[verb])[:80]} instead of {str(result)[:80]}")
    if kind is not None:
        wrong += _wishes(done, kind)
    return wrong


def _money(done: Run) -> list[str]:
    wrong = []
    if done.emulator.jobs_created != 1:
        wrong.append(f"{done.emulator.jobs_created} remote jobs")
    twice = [sha for sha, times in Counter(done.emulator.accepted_uploads).items() if times > 1]
    if twice or len(done.emulator.accepted_uploads) != 2:
        wrong.append(f"{len(done.emulator.accepted_uploads)} uploads were stored, of 2 files")
    return wrong


def _user(done: Run, outcome: str) -> list[str]:
    wrong = []
    row, *older = done.rows or [None]
    if row is None or row.status != "succeeded" or row.error is not None or row.note is not None:
        shown = row and (row.status, row.error, row.note)
        wrong.append(f"the job's row is {shown}")
    elif row.job_state is None or row.job_state.tuned_model is None or row.lease_owner is not None:
        wrong.append("the job's row has no model, or is still held")
    if any(other.status != "failed" or other.remote_id is not None for other in older):
        wrong.append(f"there are other rows: {[(other.status, other.remote_id) for other in older]}")
    if older and outcome != "refused":
        wrong.append(f"{len(older) + 1} rows")
    troubles = done.report.troubles
    for trouble in troubles:
        if "\n" in trouble.message or KEYS[done.provider] in trouble.message:
            wrong.append(f"not a line for people: {trouble.message!r}")
    if outcome == "ridden out" and troubles:
        wrong.append(f"the user was troubled: {troubles[0].verb}: {troubles[0].kind}: {troubles[0].message}")
    if outcome == "may be told":
        wrong += [f"{bad.verb}: {bad.message}" for bad in troubles if not bad.retryable or bad.verb == "drive"]
    if outcome == "refused" and len(troubles) > 1:
        wrong.append(f"one refusal was told {len(troubles)} times")
    return wrong


def _events(done: Run) -> list[str]:
    """Each of the backend's events once and in order; and one word of ours for the start."""
    if not done.emulator.jobs:
        return []
    (job, *_) = done.emulator.jobs.values()
    said = job.events(done.emulator.now())
    if done.provider == "openai":
        said = said[::-1]
    wanted = [(event["type"], event["message"]) for event in said]
    stored = [(event.type, event.message) for origin, event in done.events if origin == "backend"]
    wrong = []
    if stored != wanted:
        lost, doubled = Counter(wanted) - Counter(stored), Counter(stored) - Counter(wanted)
        wrong.append(f"events: {len(lost)} lost, {len(doubled)} too many, of {len(wanted)}")
    started = [event for _, event in done.events if event.type == "submitted"]
    if len(started) != 1:
        wrong.append(f"the start was told {len(started)} times")
    return wrong


def _wishes(done: Run, kind: Kind) -> list[str]:
    """The server is left alone as long as it asks; after a refusal nothing is tried again by itself."""
    log = done.emulator.log
    position = next((index for index, exchange in enumerate(log) if exchange.fault == kind.arm.get("kind")), None)
    if position is None:
        return [] if kind.name == "refused" else ["the fault was never reached"]
    wrong = []
    hit, later = log[position], log[position + 1 :]
    if kind.asked and later and later[0].at < hit.at + kind.asked - 0.001:
        waited = later[0].at - hit.at
        wrong.append(f"{label(later[0])} came after {waited:g} s, asked were {kind.asked:g} s")
    again = next((exchange for exchange in later if label(exchange) == label(hit)), None)
    if kind.outcome == "refused":
        next_wait = next((wait for wait in done.waits if wait.at >= hit.at), None)
        if (again and again.at == hit.at and next_wait is not None) or (next_wait and next_wait.who == "backend"):
            wrong.append("a final refusal was tried again")
    elif kind.arm.get("kind") in ("status", "html", "drop", "reset") and again and again.at == hit.at:
        wrong.append("it was tried again without a pause")
    return wrong
