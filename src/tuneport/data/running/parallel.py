"""Work over the rows of a dataset in one process per core."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from contextlib import ExitStack, contextmanager, suppress
from itertools import chain, cycle
from typing import Any, Protocol

from tuneport.data.running.underway import report_data_activity
from tuneport.data.running.worker_pool import WorkerPool, WorkerStartError, count_worker_processes, import_worker

Row = tuple[int, bytes]

SMALL_BYTES = 8 << 20  # below it, starting processes costs more than they save
BATCH_BYTES = 1 << 20
_PIECE = 100  # rows that the only process is given at once, for the progress that is shown
_WAITING = 3  # batches that a process is handed: one in work, two waiting


class RowWorker(Protocol):
    """The work of a worker: it gets batches of rows, and returns its result (which can be pickled) at the end."""

    def add(self, rows: list[Row]) -> None: ...

    def result(self) -> Any: ...


def map_rows(rows: Iterable[Row], make: str, *arguments: Any) -> list[Any]:
    """Spread `rows` over workers made by calling `make` ("module:name") with `arguments` and the worker's number.

    Returns the workers' results; a small dataset has one worker, in this process. The rows and the number of cores
    alone decide which worker gets which rows. Errors of a worker are raised here.
    """
    batches = _batches(rows)
    first, size = [], 0
    for batch, length in batches:
        first.append(batch)
        size += length
        if size >= SMALL_BYTES:
            break
    rest = chain(first, (batch for batch, _ in batches))
    count = count_worker_processes()
    if size >= SMALL_BYTES and count > 1:
        with ExitStack() as ending, suppress(WorkerStartError):  # none can be started: then this process does it alone
            # A pool for each, since one pool's processes would share the rows by chance.
            processes = [_RowProcess(WorkerPool(1, make, *arguments, number), ending) for number in range(count)]
            for process, batch in zip(cycle(processes), rest, strict=False):
                process.add(batch)
            return [wait() for wait in [process.end() for process in processes]]
    worker: RowWorker = import_worker(make)(*arguments, 0)
    done, total = 0, sum(map(len, first)) if size < SMALL_BYTES else None  # larger ones are read as they are worked on
    with report_data_activity("going through the rows", lambda: done / total if total else None):
        for batch in rest:
            for start in range(0, len(batch), _PIECE):
                worker.add(batch[start : start + _PIECE])
                done += _PIECE
    return [worker.result()]


@contextmanager
def worker_in_background(make: str, *arguments: Any) -> Iterator[Callable[[], Any]]:
    """Run a worker (see `map_rows`) in another process during the block, without any row.

    Yields a function that waits for its result, and raises its error. The process ends with the block.
    """
    with ExitStack() as ending:
        yield _RowProcess(WorkerPool(1, make, *arguments, 0), ending).end()


def _batches(rows: Iterable[Row]) -> Iterator[tuple[list[Row], int]]:
    batch: list[Row] = []
    size = 0
    for row in rows:
        batch.append(row)
        size += len(row[1]) + 64
        if size >= BATCH_BYTES:
            yield batch, size
            batch, size = [], 0
    if batch:
        yield batch, size


class _RowProcess:
    """A process with one worker, which ends with the stack. Few batches wait for it, so memory stays bounded."""

    def __init__(self, pool: WorkerPool, ending: ExitStack) -> None:
        self._pool = ending.enter_context(pool)
        self._waiting: deque[Future[Any]] = deque()

    def add(self, rows: list[Row]) -> None:
        self._waiting.append(self._pool.submit("add", rows))
        if len(self._waiting) > _WAITING:
            self._pool.result(self._waiting.popleft())

    def end(self) -> Callable[[], Any]:
        """Ask for the result, and return a function that waits for it."""
        self._waiting.append(self._pool.submit("result"))
        return lambda: [self._pool.result(each) for each in self._waiting][-1]
