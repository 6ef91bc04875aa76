"""Work over the parts of a dataset in one process per core, whose results come in the order of the parts."""

from __future__ import annotations

import time
from collections.abc import Generator, Sequence
from concurrent.futures import Future
from contextlib import suppress
from typing import Any, Protocol

from tuneport.data.running.worker_pool import WorkerPool, WorkerStartError, count_worker_processes, import_worker

WORTH_SECONDS = 0.2  # what must be left to do for one process: starting others costs half of that
AHEAD = 4  # parts for each process that may be done before the one that is waited for
_QUEUED = 2  # parts that a helper is handed: one in work, one waiting

Made = tuple[bytes, Any]


class PartWorker(Protocol):
    def process_part(self, part: Any) -> Made:
        """Return the result of the part: bytes, and anything else to report (short, and it can be pickled)."""


def ordered_map(parts: Sequence[Any], make: str, *arguments: Any) -> Generator[Made, None, None]:
    """Yield what workers made by calling `make` ("module:name") with `arguments` make of each part, in order.

    The first worker is in this process; once the rest clearly takes longer than starting processes costs, those on the
    other cores help. Errors of a worker are raised here. Close the generator to end the processes.
    """
    worker: PartWorker = import_worker(make)(*arguments)
    began = time.perf_counter()
    for done, part in enumerate(parts, start=1):
        yield worker.process_part(part)
        left = (time.perf_counter() - began) / done * (len(parts) - done)
        if left > WORTH_SECONDS and count_worker_processes() > 1:
            break
    else:
        return
    count = min(count_worker_processes() - 1, len(parts) - done)
    with suppress(WorkerStartError):  # none can be started: then this process does it alone
        with WorkerPool(count, make, *arguments) as pool:
            yield from _together(parts, done, worker, pool, count)
            return
    yield from map(worker.process_part, parts[done:])


def _together(
    parts: Sequence[Any], at: int, worker: PartWorker, pool: WorkerPool, helpers: int
) -> Generator[Made, None, None]:
    """Yield the results, with helpers. `at` is the part whose turn it is, `upcoming` the next one to assign."""
    made: dict[int, Made] = {}
    handed: dict[int, Future[Any]] = {}
    upcoming = at
    while at < len(parts):
        end = min(len(parts), at + AHEAD * (helpers + 1))
        while upcoming < end and len(handed) < _QUEUED * helpers and pool.ready.done():
            handed[upcoming] = pool.submit("process_part", parts[upcoming])
            upcoming += 1
        if upcoming < end:
            made[upcoming] = worker.process_part(parts[upcoming])
            upcoming += 1
        for place in [place for place, future in handed.items() if future.done() or (place == at and upcoming == end)]:
            made[place] = pool.result(handed.pop(place))
        while at in made:
            yield made.pop(at)
            at += 1
