"""Work over the rows of a dataset in one process per core.

Not `multiprocessing`: its children import the caller's main module once more, which runs a user's script twice unless
it guards against that. These children import nothing but what does the work; rows reach them through pipes.
"""

from __future__ import annotations

import os
import pickle
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from importlib import import_module
from itertools import chain, cycle
from pathlib import Path
from typing import IO, Any, Protocol

from tuneport.data.templates.limits import bound_template_memory
from tuneport.errors import TuneportError

Row = tuple[int, bytes]

SMALL_BYTES = 8 << 20  # below it, starting processes costs more than they save
BATCH_BYTES = 1 << 20
MOST_WORKERS = 8
MOST_MESSAGE = 2_000  # characters of what a worker raises
_START = "from tuneport.data.running.parallel import run_row_worker; run_row_worker()"


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
    count = count_worker_processes()
    if size < SMALL_BYTES or count < 2:
        worker: RowWorker = import_worker(make)(*arguments, 0)
        for batch in chain(first, (batch for batch, _ in batches)):
            worker.add(batch)
        return [worker.result()]
    with WorkerPool(count, make, arguments) as crew:
        for child, batch in zip(cycle(crew.children), chain(first, (batch for batch, _ in batches)), strict=False):
            child.waiting.put(batch)
            if child.failed.is_set():
                break
        return crew.results()


@contextmanager
def worker_in_background(make: str, *arguments: Any) -> Iterator[Callable[[], Any]]:
    """Run a worker (see `map_rows`) in another process during the block, without any row.

    Yields a function that waits for its result, and raises its error. The process ends with the block.
    """
    with WorkerPool(1, make, arguments) as crew:
        yield lambda: crew.results()[0]


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


def count_worker_processes() -> int:
    """Return how many processes work at most."""
    found = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(MOST_WORKERS, found)


def start_worker_process(code: str, **options: Any) -> subprocess.Popen[bytes]:
    """Start a process that runs `code`, with pipes to and from it. Raises TuneportError if none can be started."""
    folder = str(Path(__file__).parents[3])
    path = os.pathsep.join([folder, *filter(None, [os.environ.get("PYTHONPATH")])])
    one_thread = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    try:
        return subprocess.Popen(
            [sys.executable, "-P", "-c", code],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, **one_thread, "PYTHONPATH": path},
            start_new_session=True,  # Ctrl-C is for the parent, who ends it
            **options,
        )
    except OSError as error:
        why = error.strerror or type(error).__name__
        raise TuneportError(f"a worker process cannot be started: {why}; end other programs and try again") from error


class _RowWorkerProcess:
    """One process, and the thread that feeds it: at most two batches wait, so memory stays bounded."""

    def __init__(self, start: bytes) -> None:
        self.process = start_worker_process(_START)
        self.waiting: queue.Queue[list[Row] | None] = queue.Queue(maxsize=2)
        self.failed = threading.Event()
        self._unfed: Exception | None = None
        self.thread = threading.Thread(target=self._feed, args=(start,), daemon=True)
        self.thread.start()

    def _feed(self, start: bytes) -> None:
        stream = self.process.stdin
        assert stream is not None
        try:
            stream.write(start)
            while True:
                batch = self.waiting.get()
                pickle.dump(batch, stream, protocol=5)
                if batch is None:
                    stream.close()
                    return
        except Exception as error:  # an OSError if it has ended: then its answer says why
            self._unfed = None if isinstance(error, OSError) else error
            self.failed.set()
            _close(stream)
            while self.waiting.get() is not None:
                pass

    def result(self) -> Any:
        assert self.process.stdout is not None
        try:
            succeeded, value = pickle.load(self.process.stdout)
        except (EOFError, pickle.UnpicklingError) as error:
            if self._unfed is not None:
                raise self._unfed from None
            raise TuneportError(f"a worker process {describe_worker_exit(self.process.wait())}") from error
        if not succeeded:
            raise value
        return value

    def end(self) -> None:
        self.process.kill()
        self.process.wait()
        while self.thread.is_alive():
            try:
                self.waiting.put_nowait(None)
            except queue.Full:
                pass
            self.thread.join(timeout=0.05)
        for stream in (self.process.stdin, self.process.stdout):
            if stream is not None:
                _close(stream)


class WorkerPool:
    def __init__(self, count: int, make: str, arguments: tuple[Any, ...]) -> None:
        self.children: list[_RowWorkerProcess] = []
        try:
            for number in range(count):
                self.children.append(_RowWorkerProcess(pickle.dumps((make, (*arguments, number)))))
        except BaseException:
            self.__exit__()
            raise

    def __enter__(self) -> WorkerPool:
        return self

    def results(self) -> list[Any]:
        for child in self.children:
            child.waiting.put(None)
        return [child.result() for child in self.children]

    def __exit__(self, *exception: object) -> None:
        for child in self.children:
            child.end()


def _close(stream: IO[bytes]) -> None:
    try:
        stream.close()
    except OSError:
        pass  # bytes for a process that is no more


def describe_worker_exit(code: int) -> str:
    if code == -signal.SIGKILL:
        return "was killed by signal 9 (out of memory, perhaps); free some and try again"
    return f"{f'was killed by signal {-code}' if code < 0 else f'ended with exit code {code}'}; try again"


def import_worker(name: str) -> Any:
    module, _, attribute = name.partition(":")
    return getattr(import_module(module), attribute)


def run_row_worker() -> None:
    """Work as a child: rows on stdin, one answer on stdout. All other output goes to stderr."""
    source, answer = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    try:
        make, arguments = pickle.load(source)
        bound_template_memory()
        worker: RowWorker = import_worker(make)(*arguments)
        for batch in _sent(source):
            worker.add(batch)
        told = pickle.dumps((True, worker.result()), protocol=5)
    except _ParentGoneError:
        return
    except Exception as error:
        told = pickle.dumps((False, picklable_error(error)))
        # The parent may be writing rows that no process will read, and reads no answer until that has failed.
        os.close(0)
    try:
        with answer:
            answer.write(told)
    except BrokenPipeError:
        pass  # the parent is gone, or has another worker's error


class _ParentGoneError(Exception):
    pass


def _sent(source: IO[bytes]) -> Iterator[list[Row]]:
    while True:
        try:
            batch = pickle.load(source)
        except (EOFError, pickle.UnpicklingError) as error:
            raise _ParentGoneError from error
        if batch is None:
            return
        yield batch


def picklable_error(error: Exception) -> Exception:
    """Return the error in a form that the parent can have; as text if it cannot be pickled, or is long."""
    try:
        pickled = pickle.dumps(error)
        pickle.loads(pickled)
    except Exception:  # an error whose arguments are not its constructor's
        pickled = b""
    if pickled and len(pickled) <= 4 * MOST_MESSAGE:
        return error
    said = str(error)
    return TuneportError(said if len(said) <= MOST_MESSAGE else f"{said[: MOST_MESSAGE - 1]}…")
