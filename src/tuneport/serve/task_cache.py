"""Runs tasks that take longer than a request should: a few at a time, and equal ones once for all callers.

Tasks have threads of their own, so that other requests do not wait for them.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from concurrent.futures import Future, wait
from contextlib import suppress
from contextvars import copy_context
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from tuneport.errors import TuneportError
from tuneport.rate_limits import retry_after_headers
from tuneport.serve.http.errors import Refusal

AT_ONCE = 2
"""Tasks that run at the same time; counting and checking datasets keep a processor busy."""
MOST_UNDER_WAY = 16
KEPT = 64
RETRY_SECONDS = 2
T = TypeVar("T")
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class GatewayTaskOutcome(Generic[T]):
    """The outcome of a task: a result, or why there will never be one; neither while it is under way."""

    result: T | None = None
    failure: str | None = None

    @property
    def under_way(self) -> bool:
        return self.result is None and self.failure is None


@dataclass(frozen=True)
class GatewayTask(Generic[T]):
    """A started task; `about` says what it reads, for callers that have only its key."""

    future: Future[T]
    about: str = ""

    async def wait_until_done(self, *, within: float) -> bool:
        """Wait at most so many seconds. Returns whether the task has ended. It goes on if the caller goes away."""
        if not self.future.done() and within:
            with suppress(TimeoutError, TuneportError, Refusal):
                await asyncio.wait_for(asyncio.shield(asyncio.wrap_future(self.future)), within)
        return self.future.done()

    def wait_for_outcome(self, *, within: float) -> GatewayTaskOutcome[T]:
        """Wait at most so many seconds. Returns the task's outcome."""
        if not wait([self.future], timeout=within).done:
            return GatewayTaskOutcome()
        error = self.future.exception()
        if error is None:
            return GatewayTaskOutcome(result=self.future.result())
        if isinstance(error, TuneportError):
            return GatewayTaskOutcome(failure=str(error))
        return GatewayTaskOutcome(failure="tuneport failed; its log has the traceback. Please report it.")


class GatewayTaskCache:
    """The tasks by a key that names the work, its data and the project. The newest are kept until dropped."""

    def __init__(self) -> None:
        self._tasks: OrderedDict[Hashable, GatewayTask[Any]] = OrderedDict()
        self._lock = threading.Lock()
        self._seats = threading.Semaphore(AT_ONCE)

    def start(self, key: Hashable, work: Callable[[], T], *, about: str = "", again: bool = True) -> GatewayTask[T]:
        """Return the task, and start it if there is none. `again` restarts a failed one.

        Raises Refusal if too many are under way.
        """
        with self._lock:
            task = self._tasks.get(key)
            if task is None or (again and task.future.done() and task.future.exception() is not None):
                if sum(not each.future.done() for each in self._tasks.values()) >= MOST_UNDER_WAY:
                    raise _too_many()
                task = self._tasks[key] = GatewayTask(Future(), about)
                context = copy_context()  # the caller's project
                # Daemons: a task that is not done does not keep the gateway from ending.
                threading.Thread(target=context.run, args=(self._run, task.future, work), daemon=True).start()
            self._tasks.move_to_end(key)
            ended = [each for each, kept in self._tasks.items() if kept.future.done() and each != key]
            for oldest in ended[: max(0, len(self._tasks) - KEPT)]:
                del self._tasks[oldest]
            return task

    def find(self, key: Hashable) -> GatewayTask[Any] | None:
        with self._lock:
            return self._tasks.get(key)

    def drop(self, key: Hashable) -> None:
        """Forget a task, so that the next caller starts it again."""
        with self._lock:
            self._tasks.pop(key, None)

    def _run(self, future: Future[T], work: Callable[[], T]) -> None:
        with self._seats:
            try:
                future.set_result(work())
            except BaseException as error:
                if not isinstance(error, (TuneportError, Refusal)):
                    log.exception("a task failed")
                future.set_exception(error)


def _too_many() -> Refusal:
    return Refusal(
        429,
        "Too many datasets are being checked; try again.",
        code="rate_limit_exceeded",
        kind="rate_limit_error",
        headers=retry_after_headers(RETRY_SECONDS),
    )
