"""The verbs as coroutines, each a call in a thread: `job = await tuneport.aio.submit(...)`, `await job.wait()`.

A coroutine that is cancelled stops waiting; the call that its thread makes (of a submit, say) goes on to its end.
`Job.wait` and `Job.follow` wait in the event loop and hold a thread only while they ask; `Job.stream` holds one as long
as the answer is written.
"""

from __future__ import annotations

import asyncio
import functools
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Sequence
from typing import Any, Concatenate, Literal, ParamSpec, TypeAlias, TypeVar, overload

from tuneport.data.clean import clean as _clean
from tuneport.data.conversion.convert import convert as _convert
from tuneport.data.split import split as _split
from tuneport.lifecycle.handle import Job as _Job
from tuneport.lifecycle.handle import JobUpdate, Prompt
from tuneport.lifecycle.open_service import OpenJobService
from tuneport.lifecycle.verbs import deploy as _deploy
from tuneport.lifecycle.verbs import job as _job
from tuneport.lifecycle.verbs import jobs as _jobs
from tuneport.lifecycle.verbs import propose as _propose
from tuneport.lifecycle.verbs import submit as _submit
from tuneport.settings import Settings
from tuneport.types import Completion, JobError, JobStatus
from tuneport.workflows.advise import advise as _advise
from tuneport.workflows.check import check as _check
from tuneport.workflows.compare import compare as _compare
from tuneport.workflows.doctor import doctor as _doctor
from tuneport.workflows.evaluate import evaluate as _evaluate
from tuneport.workflows.models import models as _models
from tuneport.workflows.plan import plan as _plan
from tuneport.workflows.preview import preview as _preview
from tuneport.workflows.workspace import WorkspaceVerb

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")
Made: TypeAlias = Coroutine[Any, Any, R]


def _in_thread(function: Callable[P, R]) -> Callable[P, Made[R]]:
    @functools.wraps(function)
    async def call(*args: P.args, **given: P.kwargs) -> R:
        return await asyncio.to_thread(function, *args, **given)

    return call


def _making_job(function: Callable[P, _Job]) -> Callable[P, Made[Job]]:
    @functools.wraps(function)
    async def call(*args: P.args, **given: P.kwargs) -> Job:
        return Job(await asyncio.to_thread(function, *args, **given))

    return call


def _making_jobs(function: Callable[P, list[_Job]]) -> Callable[P, Made[list[Job]]]:
    @functools.wraps(function)
    async def call(*args: P.args, **given: P.kwargs) -> list[Job]:
        return [Job(each) for each in await asyncio.to_thread(function, *args, **given)]

    return call


def _method(function: Callable[Concatenate[_Job, P], R]) -> Callable[Concatenate[Job, P], Made[R]]:
    @functools.wraps(function)
    async def call(self: Job, /, *args: P.args, **given: P.kwargs) -> R:
        return await asyncio.to_thread(function, self.sync, *args, **given)

    return call


def _own_method(function: Callable[Concatenate[_Job, P], _Job]) -> Callable[Concatenate[Job, P], Made[Job]]:
    @functools.wraps(function)
    async def call(self: Job, /, *args: P.args, **given: P.kwargs) -> Job:
        await asyncio.to_thread(function, self.sync, *args, **given)
        return self

    return call


class Job:
    """A job whose methods are coroutines; `sync` is the same one without."""

    def __init__(self, sync: _Job) -> None:
        self.sync = sync

    def __repr__(self) -> str:
        return f"aio.{self.sync!r}"

    def _repr_html_(self) -> str:
        return self.sync._repr_html_()

    @property
    def id(self) -> str:
        return self.sync.id

    @property
    def backend(self) -> str:
        return self.sync.backend

    @property
    def status(self) -> JobStatus:
        return self.sync.status

    @property
    def tuned_model(self) -> str | None:
        return self.sync.tuned_model

    @property
    def error(self) -> JobError | None:
        return self.sync.error

    @property
    def note(self) -> str | None:
        return self.sync.note

    def as_dict(self) -> dict[str, Any]:
        return self.sync.as_dict()

    cancel = _own_method(_Job.cancel)
    delete = _own_method(_Job.delete)
    pause = _own_method(_Job.pause)
    refresh = _own_method(_Job.refresh)
    resolve = _own_method(_Job.resolve)
    resume = _own_method(_Job.resume)
    checkpoints = _method(_Job.checkpoints)
    deploy = _method(_Job.deploy)
    download = _method(_Job.download)
    events = _method(_Job.events)
    metrics = _method(_Job.metrics)
    push_to_hub = _method(_Job.push_to_hub)
    verdict = _method(_Job.verdict)

    async def wait(self, timeout: float | None = None, *, poll_seconds: float | None = None) -> Job:
        """Drive the job to its end, as `tuneport.Job.wait`. Cancelled, it leaves the job as it is, and it goes on."""
        deadline, turns = _deadline(timeout), self.sync.turns(poll_seconds)
        while (seconds := await asyncio.to_thread(next, turns, None)) is not None:
            await self._pause(seconds, deadline, timeout)
        self.sync.succeeded()
        return self

    async def follow(
        self, timeout: float | None = None, *, poll_seconds: float | None = None
    ) -> AsyncIterator[JobUpdate]:
        """Drive the job and yield each change, as `tuneport.Job.follow`."""
        deadline, updates = _deadline(timeout), self.sync.updates(poll_seconds)
        while (found := await asyncio.to_thread(next, updates, None)) is not None:
            if found[0] is not None:
                yield found[0]
            await self._pause(found[1], deadline, timeout)

    async def _pause(self, seconds: float, deadline: float | None, timeout: float | None) -> None:
        if deadline is not None and not self.status.terminal and time.monotonic() >= deadline:
            raise self.sync.timed_out(timeout)
        await asyncio.sleep(seconds)

    @overload
    async def complete(self, prompt: Prompt, *, stream: Literal[False] = False, **options: Any) -> Completion: ...

    @overload
    async def complete(self, prompt: Prompt, *, stream: Literal[True], **options: Any) -> AsyncIterator[str]: ...

    async def complete(
        self, prompt: Prompt, *, stream: bool = False, **options: Any
    ) -> Completion | AsyncIterator[str]:
        """Ask the tuned model, as `tuneport.Job.complete`."""
        if stream:
            return self.stream(prompt, **options)
        return await asyncio.to_thread(lambda: self.sync.complete(prompt, **options))

    async def stream(self, prompt: Prompt, **options: Any) -> AsyncIterator[str]:
        """Ask the tuned model, and yield the pieces of its answer as they are written. Dropped, the answer ends."""
        async for piece in _pumped(lambda: self.sync.stream(prompt, **options)):
            yield piece


def _deadline(timeout: float | None) -> float | None:
    return None if timeout is None else time.monotonic() + timeout


async def _pumped(start: Callable[[], Iterator[T]]) -> AsyncIterator[T]:
    """Yield the items of an iterator that runs in its own thread."""
    loop = asyncio.get_running_loop()
    arrived: asyncio.Queue[Sequence[T] | Exception | None] = asyncio.Queue()
    over = False

    def tell(what: Sequence[T] | Exception | None) -> None:
        if not loop.is_closed():
            loop.call_soon_threadsafe(arrived.put_nowait, what)

    def pump() -> None:
        try:
            source = start()
            try:
                for item in source:
                    if over:
                        break
                    tell([item])
            finally:
                if (close := getattr(source, "close", None)) is not None:
                    close()
            tell(None)
        except Exception as error:
            tell(error)

    pumping = loop.run_in_executor(None, pump)
    try:
        while (found := await arrived.get()) is not None:
            if isinstance(found, Exception):
                raise found
            for item in found:
                yield item
        await pumping
    finally:
        over = True  # the thread ends with the next piece


# --- the functions --------------------------------------------------------------------------------------------------

advise = _in_thread(_advise)
check = _in_thread(_check)
clean = _in_thread(_clean)
compare = _in_thread(_compare)
convert = _in_thread(_convert)
deploy = _in_thread(_deploy)
evaluate = _in_thread(_evaluate)
job = _making_job(_job)
jobs = _making_jobs(_jobs)
models = _in_thread(_models)
plan = _in_thread(_plan)
preview = _in_thread(_preview)
propose = _in_thread(_propose)
split = _in_thread(_split)
submit = _making_job(_submit)
doctor = _in_thread(functools.wraps(_doctor)(lambda *args, **given: list(_doctor(*args, **given))))


class Workspace:
    """One home, as `tuneport.Workspace`, for `async with`; its methods are the coroutines of this module."""

    def __init__(self, settings: Settings | None = None) -> None:
        self.opened = OpenJobService(settings)

    async def __aenter__(self) -> Workspace:
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close its database connections and inference processes. Jobs go on. Does nothing if it is closed."""
        await asyncio.to_thread(self.opened.close)

    @property
    def settings(self) -> Settings:
        return self.opened.settings

    advise = WorkspaceVerb(advise)
    check = WorkspaceVerb(check)
    clean = WorkspaceVerb(clean)
    compare = WorkspaceVerb(compare)
    convert = WorkspaceVerb(convert)
    deploy = WorkspaceVerb(deploy)
    doctor = WorkspaceVerb(doctor)
    evaluate = WorkspaceVerb(evaluate)
    job = WorkspaceVerb(job)
    jobs = WorkspaceVerb(jobs)
    models = WorkspaceVerb(models)
    plan = WorkspaceVerb(plan)
    preview = WorkspaceVerb(preview)
    propose = WorkspaceVerb(propose)
    split = WorkspaceVerb(split)
    submit = WorkspaceVerb(submit)
