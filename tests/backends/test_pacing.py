"""A budget of requests, with a clock of its own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.contract import prepared_chats, token
from tests.emulators import OpenAIEmulator
from tuneport.backends.pacing import BURST_SECONDS, Budget, before_request, paced
from tuneport.types import TuneSpec


class Clock:
    def __init__(self) -> None:
        self.time, self.slept = 1000.0, 0.0

    def sleep(self, seconds: float) -> None:
        self.time += seconds
        self.slept += seconds


def test_a_burst_is_free_and_then_the_rate_holds() -> None:
    clock = Clock()
    budget = Budget(60, clock=lambda: clock.time, sleep=clock.sleep)
    for _ in range(int(BURST_SECONDS)):
        budget.take()
    assert clock.slept == 0.0
    for _ in range(600):
        budget.take()
    assert 599.0 <= clock.slept <= 601.0
    clock.time += 3600.0  # an hour's rest saves ten seconds' worth, no more
    before = clock.slept
    for _ in range(int(BURST_SECONDS) + 1):
        budget.take()
    assert 0.5 <= clock.slept - before <= 1.5


def test_only_what_is_paced_takes_from_the_budget(
    openai: OpenAIEmulator, connect: Callable[..., Any], tmp_path: Any
) -> None:
    clock, backend = Clock(), connect(openai)
    budget = Budget(600, clock=lambda: clock.time, sleep=clock.sleep)
    data = prepared_chats(tmp_path)
    spec = TuneSpec(model="gpt-4.1-mini-2025-04-14", dataset=data.training.path)
    state = backend.submit(spec, list(backend.prepare(spec, data)), token=token("t"))
    assert budget.spent == 0
    openai.advance(3600)  # ended, with more events than a page holds
    before = len(openai.log)
    with paced(budget):
        backend.fetch(state.remote_id)
        list(backend.list_jobs())
        backend.events(state.remote_id)
    assert budget.spent == len(openai.log) - before > 3, "each page of a list is a request"
    spent = budget.spent
    before_request()  # outside: free
    assert budget.spent == spent
