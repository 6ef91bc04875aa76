"""Work over the parts of a dataset in one process per core, whose results come in the order of the parts.

What a helper makes of a part lies in a scratch file, which has no name and so leaves nothing behind, whichever process
dies: through a pipe it took as long as making it (a megabyte: 3.5 ms), and slowed the reader as much.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Generator, Sequence
from concurrent.futures import Future
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any, Protocol

from tuneport.data.running.worker_pool import WorkerPool, WorkerStartError, count_worker_processes, import_worker

WORTH_SECONDS = 0.2  # what must be left to do for one process: starting others costs half of that
AHEAD = 4  # parts for each process that may be done before the one that is waited for
_QUEUED = 3  # parts that a helper is handed: one in work, two waiting

Made = tuple[bytes, Any]


class PartWorker(Protocol):
    def process_part(self, part: Any) -> Made:
        """Return the result of the part: bytes, and anything else to report (short, and it can be pickled)."""


def ordered_map(
    parts: Sequence[Any], make: str, *arguments: Any, scratch: Path, worth_seconds: float | None = None
) -> Generator[Made, None, None]:
    """Yield what workers made by calling `make` ("module:name") with `arguments` make of each part, in order.

    The first worker is in this process; once the rest clearly takes longer than starting processes costs, those on the
    other cores help, where `worth_seconds` (`WORTH_SECONDS`) or more are left. Scratch files are in the folder
    `scratch`. Errors of a worker are raised here. Close the generator to end the processes.
    """
    worker: PartWorker = import_worker(make)(*arguments)
    worth_seconds, began = WORTH_SECONDS if worth_seconds is None else worth_seconds, time.perf_counter()
    for done, part in enumerate(parts, start=1):
        yield worker.process_part(part)
        left = (time.perf_counter() - began) / done * (len(parts) - done)
        if left > worth_seconds and count_worker_processes() > 1 and hasattr(os, "pwrite"):
            break
    else:
        return
    count = min(count_worker_processes() - 1, len(parts) - done)
    with ExitStack() as ending, suppress(WorkerStartError):  # none can be started: then this process does it alone
        files = [ending.enter_context(ScratchFile(scratch)) for _ in range(_QUEUED * count)]
        pool = ending.enter_context(WorkerPool(count, f"{__name__}:_Helper", make, arguments, files))
        yield from _together(parts, done, worker, pool, files)
        return
    yield from map(worker.process_part, parts[done:])


def _together(
    parts: Sequence[Any], at: int, worker: PartWorker, pool: WorkerPool, files: list[ScratchFile]
) -> Generator[Made, None, None]:
    """Yield the results, with as many parts at helpers as there are files. `at` is the part whose turn it is,
    `upcoming` the next one to assign."""
    made: dict[int, Made] = {}
    handed: dict[int, tuple[int, Future[Any]]] = {}
    free = list(range(len(files)))
    upcoming = at
    while at < len(parts):
        end = min(len(parts), at + AHEAD * (len(files) // _QUEUED + 1))
        while upcoming < end and free and pool.ready.done():
            handed[upcoming] = free[-1], pool.submit("process_part", parts[upcoming], free.pop())
            upcoming += 1
        if upcoming < end:
            made[upcoming] = worker.process_part(parts[upcoming])
            upcoming += 1
        for place, (file, future) in list(handed.items()):
            if future.done() or (place == at and upcoming == end):
                size, more = pool.result(future)
                made[place] = files[file].read(size), more
                del handed[place]
                free.append(file)
        while at in made:
            yield made.pop(at)
            at += 1


class _Helper:
    """The worker of another process: its results are in the files, their sizes in the answers."""

    def __init__(self, make: str, arguments: tuple[Any, ...], files: list[ScratchFile]) -> None:
        self._worker: PartWorker = import_worker(make)(*arguments)
        self._files = files

    def process_part(self, part: Any, file: int) -> tuple[int, Any]:
        data, more = self._worker.process_part(part)
        self._files[file].write(data)
        return len(data), more


class ScratchFile:
    """A file without a name that the processes of a pool share with their parent, as arguments of their worker."""

    def __init__(self, folder: Path) -> None:
        with tempfile.TemporaryFile(dir=folder) as file:
            self._file = os.dup(file.fileno())

    def __enter__(self) -> ScratchFile:
        return self

    def __exit__(self, *exception: object) -> None:
        os.close(self._file)

    def __getstate__(self) -> Any:
        from multiprocessing.reduction import DupFd

        return DupFd(self._file)

    def __setstate__(self, inherited: Any) -> None:
        self._file = inherited.detach()

    def write(self, data: bytes) -> None:
        at, rest = 0, memoryview(data)
        while at < len(data):
            at += os.pwrite(self._file, rest[at:], at)

    def read(self, size: int) -> bytes:
        data = os.pread(self._file, size, 0)
        while len(data) < size:
            more = os.pread(self._file, size - len(data), len(data))
            if not more:
                raise OSError(f"a scratch file lacks {size - len(data)} bytes")
            data += more
        return data
