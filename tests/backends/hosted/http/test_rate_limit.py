"""Which reads are paced; how a limiter paces is in tests/test_rate_limits.py."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tuneport.backends.hosted.http.rate_limit import rate_limited_reads, wait_before_provider_read
from tuneport.rate_limits import RateLimiter
from tuneport.testing.contract import contract_job_token, prepared_chats
from tuneport.testing.emulators import OpenAIEmulator
from tuneport.types import TuneSpec


class Clock:
    def __init__(self) -> None:
        self.time, self.slept = 1000.0, 0.0

    def sleep(self, seconds: float) -> None:
        self.time += seconds
        self.slept += seconds


def test_only_what_is_paced_waits_for_the_limiter(
    openai: OpenAIEmulator, connect: Callable[..., Any], tmp_path: Any
) -> None:
    clock, backend = Clock(), connect(openai)
    limiter = RateLimiter(600, burst=100, clock=lambda: clock.time, sleep=clock.sleep)
    data = prepared_chats(tmp_path)
    spec = TuneSpec(model="gpt-4.1-mini-2025-04-14", dataset=data.training.path)
    state = backend.submit(spec, list(backend.prepare(spec, data)), token=contract_job_token("t"))
    assert limiter.requests == 0
    openai.advance(3600)  # ended, with more events than a page holds
    before = len(openai.log)
    with rate_limited_reads(limiter):
        backend.fetch(state.remote_id)
        list(backend.list_jobs())
        backend.events(state.remote_id)
    assert limiter.requests == len(openai.log) - before > 3, "each page of a list is a request"
    requests = limiter.requests
    wait_before_provider_read()  # outside: free
    assert limiter.requests == requests
