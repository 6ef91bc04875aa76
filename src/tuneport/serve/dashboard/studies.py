"""What is found out about a dataset before anything is submitted: in the background, each once, kept for a while.

Reading and judging 200,000 rows takes longer than anybody waits for a page.
"""

from __future__ import annotations

import logging
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from contextvars import copy_context
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from tuneport.errors import TuneportError

log = logging.getLogger(__name__)

WAIT_SECONDS = 1.5
"""So long a page waits for what may be there in a moment."""
_KEPT = 40
_AT_ONCE = 2
T = TypeVar("T")


@dataclass(frozen=True)
class Study(Generic[T]):
    """`result` where it is there; `failure` where it never will be, in words; neither: it is being made."""

    result: T | None = None
    failure: str | None = None

    @property
    def under_way(self) -> bool:
        return self.result is None and self.failure is None


class Studies:
    """The key says what is studied, data and wishes included, so that the same is never worked out twice."""

    def __init__(self) -> None:
        self._futures: OrderedDict[Hashable, Future[Any]] = OrderedDict()
        self._lock = threading.Lock()
        self._seats = threading.Semaphore(_AT_ONCE)

    def of(self, key: Hashable, work: Callable[[], T], *, wait: float) -> Study[T]:
        with self._lock:
            future = self._futures.get(key)
            if future is None:
                future = self._futures[key] = Future()
                context = copy_context()  # on whose behalf it is
                # Daemons: a study that is not done does not keep the gateway from ending.
                threading.Thread(target=context.run, args=(self._run, future, work), daemon=True).start()
            self._futures.move_to_end(key)
            while len(self._futures) > _KEPT:
                self._futures.popitem(last=False)
        try:
            return Study(result=future.result(timeout=wait))
        except TimeoutError:
            return Study()
        except TuneportError as error:
            return Study(failure=str(error))
        except Exception:
            return Study(failure="tuneport failed; its log has the traceback. Please report it.")

    def _run(self, future: Future[T], work: Callable[[], T]) -> None:
        with self._seats:
            try:
                future.set_result(work())
            except TuneportError as error:
                future.set_exception(error)
            except Exception as error:
                log.exception("a dataset could not be studied")
                future.set_exception(error)
