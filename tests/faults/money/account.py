"""One account at a provider of the bench: what it does to requests, and the ledger of what it carried out."""

from __future__ import annotations

import itertools
import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

LOST = ("reset", "close", "half", "bad gateway", "gateway timeout", "server error", "silence")
"""How the answer to a create that was carried out goes astray."""
DEAD_FIRST = "dead first"
"""The connection is reset when the create arrives; the job is carried out afterwards."""
NOTHING = "nothing"
"""The connection is reset, and no job is ever carried out."""
OTHER_JOB = "other job"
"""The job is carried out, and the answer shows another one of the account."""

LONGEST_SILENCE = 2.5
MARGIN = 3.0
"""For how many seconds a job still runs after all of several ones are in the lists: time enough to see them."""


@dataclass(frozen=True)
class Knobs:
    """What is odd about the server. Times are seconds."""

    answers: tuple[str, ...] = ()  # to the first creates; the later ones are answered as they should be
    lag: float = 0.0  # until a job that was carried out is in the lists
    delay: float = 0.0  # until a create that arrived is carried out
    marks: str = "kept"  # metadata or suffix: kept, dropped, truncated
    obeys_filter: bool = True
    pages: str = "whole"  # whole, reordered, doubled, missing (a job, from each second list)
    page_size: int = 100
    others: int = 0  # jobs of other programs, alike in file, model and settings, for each create
    others_marked: bool = False
    honours_keys: bool = False
    runs: float = 0.5  # a job, at the least


@dataclass
class Job:
    """A job that was carried out: one entry of the ledger."""

    id: str
    request: dict[str, Any]
    token: str | None  # as it was sent
    key: str | None  # Idempotency-Key
    at: float  # monotonic
    created_at: float  # of the day
    ours: bool
    phase: int
    cancelled: bool = False


@dataclass
class Create:
    """A create as it arrived, carried out or not."""

    at: float
    token: str | None
    key: str | None
    phase: int
    job: Job | None = None


@dataclass
class Account:
    """Threads share it. `phase` 0 is the time of the jobs before, in which nothing goes wrong."""

    name: str
    seed: int
    knobs: Knobs = field(default_factory=Knobs)
    phase: int = 0
    jobs: list[Job] = field(default_factory=list)
    creates: list[Create] = field(default_factory=list)
    files: dict[str, dict[str, Any]] = field(default_factory=dict)
    pending: int = 0
    lists: int = 0
    strange: list[str] = field(default_factory=list)  # requests that this API does not have
    killer: Callable[[], None] | None = None
    kill_after: float = 0.0
    kill_at: int = 0  # which create of the phase
    lock: threading.RLock = field(default_factory=threading.RLock)

    def __post_init__(self) -> None:
        self.random = random.Random(self.seed)
        self._numbers = itertools.count(1)

    def new_id(self, prefix: str) -> str:
        with self.lock:
            return f"{prefix}{self.random.getrandbits(64):016x}{next(self._numbers):04d}"

    # --- creating ---------------------------------------------------------------------------------------------------

    def arrived(self, token: str | None, key: str | None) -> tuple[Create, str]:
        """Note a create, and say how it is to be answered."""
        with self.lock:
            create = Create(time.monotonic(), token, key, self.phase)
            number = sum(known.phase == self.phase for known in self.creates)
            self.creates.append(create)
            answers = self.knobs.answers if self.phase else ()
            killer = None
            if number == self.kill_at:
                killer, self.killer = self.killer, None
        if killer is not None:
            threading.Timer(self.kill_after, killer).start()
        return create, answers[number] if number < len(answers) else "right"

    @contextmanager
    def under_way(self) -> Iterator[None]:
        with self.lock:
            self.pending += 1
        try:
            yield
        finally:
            with self.lock:
                self.pending -= 1

    def carry_out(self, create: Create, request: dict[str, Any], prefix: str) -> Job:
        """Start a job, and beside it those of other programs; or give the one of the same key, where keys count."""
        with self.lock:
            if self.knobs.honours_keys and create.key is not None:
                same = next((job for job in self.jobs if job.ours and job.key == create.key), None)
                if same is not None:
                    create.job = same
                    return same
            others = self.knobs.others if self.phase else 0
            for _ in range(others // 2):
                self._start(request, prefix)
            create.job = self._start(request, prefix, create)
            for _ in range(others - others // 2):
                self._start(request, prefix)
            return create.job

    def _start(self, request: dict[str, Any], prefix: str, create: Create | None = None) -> Job:
        token = key = None
        if create is not None:
            token, key = create.token, create.key
        elif self.knobs.others_marked:
            token = f"other-{self.random.getrandbits(40):010x}"
        job = Job(
            self.new_id(prefix), request, token, key, time.monotonic(), time.time(), create is not None, self.phase
        )
        self.jobs.append(job)
        return job

    # --- looking ----------------------------------------------------------------------------------------------------

    def mark_of(self, job: Job, mark: str | None) -> str | None:
        """What the server shows of a mark that was sent."""
        if mark is None or job.phase == 0 or self.knobs.marks == "kept" or not job.ours:
            return mark
        return None if self.knobs.marks == "dropped" else mark[: len(mark) // 2]

    def listed(self) -> list[Job]:
        """The jobs that lists show now, in the order in which they do; some perhaps twice."""
        with self.lock:
            self.lists += 1
            moment = time.monotonic()
            jobs = [job for job in self.jobs if job.phase == 0 or moment - job.at >= self.knobs.lag][::-1]
            if self.phase == 0:
                return jobs
            if self.knobs.pages == "missing" and self.lists % 2:
                jobs = [job for job in jobs if not job.ours or job.phase == 0]
            if self.knobs.pages == "reordered":
                self.random.shuffle(jobs)
            if self.knobs.pages == "doubled":
                jobs = [job for job in jobs for _ in range(2)]
            return jobs

    def find(self, job_id: str) -> Job | None:
        with self.lock:
            return next((job for job in self.jobs if job.id == job_id), None)

    def ours(self, phase: int = 1) -> list[Job]:
        """The ledger: what was carried out for us, in order."""
        with self.lock:
            return [job for job in self.jobs if job.ours and job.phase == phase]

    def all_listed_at(self) -> float:
        """From when on lists show all that was carried out."""
        return max((job.at for job in self.ours()), default=0.0) + self.knobs.lag

    def over(self, job: Job) -> bool:
        """Whether a job has ended: not before lists have shown each of several ones for a while."""
        if job.cancelled or job.phase == 0 or not job.ours:
            return True
        several = len(self.ours()) > 1 or self.pending > 0
        until = max(self.all_listed_at() + MARGIN if several else 0.0, job.at + self.knobs.runs)
        return self.pending == 0 and time.monotonic() >= until
