"""Work that takes longer than a request should last: few at a time, and the same once, however many ask for it.

Threads of its own: whoever asks for something else waits for none of it.
"""

from __future__ import annotations

import asyncio
import threading
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from contextvars import copy_context
from dataclasses import dataclass
from typing import Generic, TypeVar

from tuneport.errors import TuneportError
from tuneport.serve.errors import Refusal

AT_ONCE = 2
"""Datasets that are read at the same time; counting and checking use all the processor they get."""
MOST_UNDER_WAY = 16
KEPT = 64
RETRY_SECONDS = 2
T = TypeVar("T")


@dataclass(frozen=True)
class Asked(Generic[T]):
    """`about`: the file, for whoever has only the key."""

    about: str
    future: Future[T]


class SharedWork(Generic[T]):
    """The key says what is asked for, data and project included. The newest answers are kept until they are dropped."""

    def __init__(self) -> None:
        self._asked: OrderedDict[str, Asked[T]] = OrderedDict()
        self._lock = threading.Lock()
        self._seats = threading.Semaphore(AT_ONCE)

    def ask(self, key: str, about: str, work: Callable[[], T]) -> Future[T]:
        """The answer to be, which others may be waiting for; what has failed is tried anew. Refusal where too much is
        under way."""
        with self._lock:
            there = self._asked.get(key)
            if there is not None and not (there.future.done() and there.future.exception() is not None):
                self._asked.move_to_end(key)
                return there.future
            if sum(not each.future.done() for each in self._asked.values()) >= MOST_UNDER_WAY:
                raise Refusal(
                    429,
                    "Too many datasets are being looked at; try again.",
                    code="rate_limit_exceeded",
                    kind="rate_limit_error",
                    headers={"Retry-After": str(RETRY_SECONDS)},
                )
            future: Future[T] = Future()
            self._asked[key] = Asked(about, future)
            self._asked.move_to_end(key)
            context = copy_context()  # on whose behalf it is
            # Daemons: what is not done does not keep the gateway from ending.
            threading.Thread(target=context.run, args=(self._run, future, work), daemon=True).start()
            while len(self._asked) > KEPT and next(iter(self._asked.values())).future.done():
                self._asked.popitem(last=False)
            return future

    def find(self, key: str) -> Asked[T] | None:
        with self._lock:
            return self._asked.get(key)

    def drop(self, key: str) -> None:
        """It has been told: whoever asks from now on is told anew."""
        with self._lock:
            self._asked.pop(key, None)

    def _run(self, future: Future[T], work: Callable[[], T]) -> None:
        with self._seats:
            try:
                future.set_result(work())
            except BaseException as error:
                future.set_exception(error)


async def is_done(future: Future[T], *, within: float) -> bool:
    """Waits so many seconds at most; whatever becomes of whoever asked, the work goes on."""
    if not future.done() and within:
        with suppress(TimeoutError, TuneportError, Refusal):
            await asyncio.wait_for(asyncio.shield(asyncio.wrap_future(future)), within)
    return future.done()
