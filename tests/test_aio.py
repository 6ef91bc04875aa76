"""The same verbs as coroutines."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

import tuneport
from tuneport.aio import _pumped
from tuneport.lifecycle.store.jobs import JobStore
from tuneport.types import JobStatus


def test_a_job_from_start_to_answer(dataset: Path) -> None:
    async def run() -> None:
        async with tuneport.aio.Workspace() as workspace:
            report, table = await asyncio.gather(
                workspace.check(dataset), workspace.compare(dataset, model="gpt-4.1-mini")
            )
            assert report.rows == table.rows == 12
            job = await workspace.submit(dataset, model="tiny", backend="fake", confirm=False, anyway=True)
            seen = [update.status async for update in job.follow(poll_seconds=0.01)]
            assert seen[-1] is job.status is JobStatus.SUCCEEDED
            assert (await job.wait()) is job and job.tuned_model is not None and job.error is None
            whole = await job.complete("Question number 3?")
            pieces = [piece async for piece in job.stream("Question number 3?")]
            assert whole.text == "".join(pieces) == "Answer 3." and len(pieces) > 1
            assert [piece async for piece in await job.complete("Question number 3?", stream=True)] == pieces
            assert [each.id for each in await workspace.jobs()] == [(await tuneport.aio.job(job.id)).id]
            assert len(await job.events()) > 0 and (await job.refresh()) is job and repr(job) == f"aio.{job.sync!r}"
        with pytest.raises(tuneport.ConfigError, match="closed"):
            await job.refresh()

    asyncio.run(run())


def test_errors_are_those_of_the_function(dataset: Path) -> None:
    async def run() -> None:
        with pytest.raises(tuneport.UnknownJobError):
            await tuneport.aio.job("job-000")
        with pytest.raises(TypeError, match="unexpected keyword argument 'epochs'"):
            await tuneport.aio.submit(dataset, model="tiny", epochs=3)  # type: ignore[call-overload]
        assert "python" in {finding.subject for finding in await tuneport.aio.doctor()}

    asyncio.run(run())


def test_a_wait_is_cancelled_while_the_job_goes_on(dataset: Path) -> None:
    async def run() -> None:
        job = await tuneport.aio.submit(dataset, model="tiny", backend="fake", confirm=False, anyway=True)
        waiting = asyncio.create_task(job.wait(poll_seconds=60))
        await asyncio.sleep(0.3)
        begun = time.monotonic()
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert time.monotonic() - begun < 1 and not job.status.terminal
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(job.wait(poll_seconds=60), 0.05)
        with pytest.raises(TimeoutError, match="after 0 seconds; it continues"):
            await job.wait(0)
        assert (await job.wait(poll_seconds=0.01)).status is JobStatus.SUCCEEDED

    asyncio.run(run())


def test_pieces_come_through_one_thread_and_stop_when_nobody_reads() -> None:
    threads, given, ended = set[str](), list[int](), threading.Event()

    def endless() -> Iterator[int]:
        try:
            for number in range(1_000_000):
                threads.add(threading.current_thread().name)
                given.append(number)
                yield number
                time.sleep(0.001)
        finally:
            ended.set()

    async def run() -> list[int]:
        seen = []
        pieces: AsyncIterator[int] = _pumped(endless)
        async for number in pieces:
            seen.append(number)
            if number == 9:
                break
        await pieces.aclose()  # type: ignore[attr-defined]
        assert await asyncio.to_thread(ended.wait, 5)
        return seen

    assert asyncio.run(run()) == list(range(10)) and len(threads) == 1 and len(given) < 1000


def test_a_failure_in_the_midst_is_raised() -> None:
    def failing() -> Iterator[str]:
        yield "one"
        raise tuneport.UnavailableError("it went away", provider="fake")

    async def run() -> list[str]:
        seen = []
        with pytest.raises(tuneport.UnavailableError, match="it went away"):
            async for piece in _pumped(failing):
                seen.append(piece)
        return seen

    assert asyncio.run(run()) == ["one"]


def test_the_event_loop_is_free_while_a_call_runs(dataset: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    listed = JobStore.all

    def slow(self: JobStore, **options: int) -> object:
        time.sleep(0.2)
        return listed(self, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(JobStore, "all", slow)

    async def run() -> int:
        listing, ticks = asyncio.create_task(tuneport.aio.jobs()), 0
        while not listing.done():
            await asyncio.sleep(0.01)
            ticks += 1
        return ticks

    assert asyncio.run(run()) > 5
