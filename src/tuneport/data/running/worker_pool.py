"""Worker processes of loky. Each makes one worker and calls its methods.

Not those of `multiprocessing`, which import the caller's main module once more: that runs a user's script twice unless
it guards against it.
"""

from __future__ import annotations

import os
import pickle
import re
import signal
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from functools import cache, partial
from importlib import import_module
from typing import Any

from tuneport.data.templates.limits import bound_template_memory
from tuneport.errors import TuneportError

MOST_WORKERS = 8
MOST_MESSAGE = 2_000  # characters of what a worker raises
WATCH_SECONDS = 1.0
_PR_SET_PDEATHSIG = 1  # linux/prctl.h
_ENVIRONMENT = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1") | {
    "LOKY_MAX_MEMORY_LEAK_SIZE": "1e18",  # a worker that has grown is not replaced: it holds what it has found
}
_starting = threading.Lock()


class WorkerStartError(TuneportError):
    """Processes that the system refuses."""


def count_worker_processes() -> int:
    """Return how many processes work at most."""
    found = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(MOST_WORKERS, found)


class WorkerPool:
    """`count` processes with a worker each, made by calling `make` ("module:name") with `arguments`.

    Use it as a context manager, in one thread: the processes are killed when the block ends, or the thread. The
    constructor raises WorkerStartError.
    """

    def __init__(self, count: int, make: str, *arguments: Any) -> None:
        try:
            from loky import ProcessPoolExecutor

            with _quiet_start():
                self._executor = ProcessPoolExecutor(
                    count, initializer=_set_up, initargs=(os.getpid(), make, arguments), env=_ENVIRONMENT
                )
                try:
                    self.ready: Future[Any] = self._executor.submit(os.getpid)  # which starts all processes
                except BaseException:
                    self._executor.shutdown(kill_workers=True)
                    raise
        except (ImportError, NotImplementedError, OSError) as error:  # the first two: there are no semaphores
            why = getattr(error, "strerror", None) or str(error)
            raise WorkerStartError(
                f"a worker process cannot be started: {why}; end other programs and try again"
            ) from error

    def __enter__(self) -> WorkerPool:
        return self

    def __exit__(self, *exception: object) -> None:
        calls = self._executor._call_queue
        self._executor.shutdown(kill_workers=True)
        # Loky 3.7 keeps its reading end open, so that a thread that sends to a killed process would wait for ever.
        calls._reader.close()

    def submit(self, method: str, *arguments: Any) -> Future[Any]:
        """Call the method of a worker that is free next. Raises TuneportError if a process has ended."""
        with _explained():
            future: Future[Any] = self._executor.submit(_call, method, *arguments)
            return future

    def result(self, future: Future[Any]) -> Any:
        """Return what the method returned. Raises what it raised, and TuneportError if a process has ended."""
        with _explained():
            return future.result()


@contextmanager
def _quiet_start() -> Iterator[None]:
    """Keep Ctrl-C, which is for the parent, from the processes that start, and keep them from importing programs that
    lie in the present folder: loky's and Python's resource trackers cannot be told so but by the environment."""
    with _starting:
        before = os.environ.get("PYTHONSAFEPATH")
        os.environ["PYTHONSAFEPATH"], mask = "1", None
        try:
            if hasattr(signal, "pthread_sigmask"):
                from multiprocessing import resource_tracker

                resource_tracker.ensure_running()  # which lets SIGINT through when it starts
                mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
            yield
        finally:
            if mask is not None:
                signal.pthread_sigmask(signal.SIG_SETMASK, mask)
            if before is None:
                del os.environ["PYTHONSAFEPATH"]
            else:
                os.environ["PYTHONSAFEPATH"] = before


@contextmanager
def _explained() -> Iterator[None]:
    from loky import BrokenProcessPool

    try:
        yield
    except BrokenProcessPool as error:
        raise TuneportError(f"a worker process {_describe_exit(str(error))}") from error


def _describe_exit(told: str) -> str:
    code = int(found[1]) if (found := re.search(r"\((-?\d+)\)", told)) else None
    if code is None:
        return "has ended; try again"
    if code == -signal.SIGKILL:
        return "was killed by signal 9 (out of memory, perhaps); free some and try again"
    return f"{f'was killed by signal {-code}' if code < 0 else f'ended with exit code {code}'}; try again"


def import_worker(name: str) -> Any:
    module, _, attribute = name.partition(":")
    return getattr(import_module(module), attribute)


def _set_up(parent: int, make: str, arguments: tuple[Any, ...]) -> None:
    """Prepare a worker process: its output goes to stderr, and it ends with the parent, however that ends."""
    os.dup2(2, 1)
    if hasattr(os, "setsid"):
        os.setsid()  # on a busy Linux each session has a share of the processor
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        _end_without(parent)  # which may have ended before
    else:
        threading.Thread(target=_watch, args=(parent,), daemon=True).start()
    bound_template_memory()
    globals()["_worker"] = cache(partial(_make, make, arguments))


def _end_without(parent: int) -> None:
    if os.getppid() != parent:
        os._exit(1)


def _watch(parent: int, *, watch_seconds: float = WATCH_SECONDS) -> None:
    while True:
        _end_without(parent)
        time.sleep(watch_seconds)


def _make(make: str, arguments: tuple[Any, ...]) -> Any:
    return import_worker(make)(*arguments)


def _call(method: str, *arguments: Any) -> Any:
    try:
        return getattr(globals()["_worker"](), method)(*arguments)
    except Exception as error:
        raise picklable_error(error) from None


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
