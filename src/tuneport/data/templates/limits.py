"""Bounds for chat templates, which are programs of a model's author: one may loop for ever, or fill the
memory.

The time is the processor's, so that a busy machine and a closed laptop stop nothing. The memory is bounded on Linux,
and only in processes of our own (`bound_template_memory`): what another thread starts would inherit the bound.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from types import TracebackType
from typing import Any

from tuneport.errors import UnsupportedError

MOST_SECONDS = 5.0
"""For one conversation. A record of 60 MB, the largest there is, takes a tenth of that."""
MOST_BYTES = 1 << 30
MOST_CHARACTERS, MOST_TIMES = 4 << 20, 8
"""A text may be so long, or so many times as long as what is rendered."""
_LOOK_SECONDS = 0.5
_STALE_SECONDS, _STALE_USES = 0.01, 256
FIX = "use a model with another template"

_own_process = False


class TemplateLimitError(UnsupportedError):
    """A template that was stopped."""


class _StoppedError(Exception):
    """Raised within a rendering by the thread that watches it."""


def bound_template_memory() -> None:
    """Bound the memory of renderings in this process's main thread, too."""
    globals()["_own_process"] = sys.platform == "linux"


class _RenderingWatch:
    """A thread that stops renderings which take too long. `lock` is held to begin, to end and to stop one."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.running: dict[int, float] = {}  # by thread, the processor time at which it is stopped
        self.stopped: set[int] = set()
        self._process = 0

    def start(self) -> None:
        """Start the thread, unless this process has it: a fork does not take it along."""
        if self._process != os.getpid():
            self._process = os.getpid()
            threading.Thread(target=self._look, name="tuneport-templates", daemon=True).start()

    def _look(self) -> None:
        while True:
            time.sleep(_LOOK_SECONDS)
            if not self.running:
                continue
            with self.lock:
                for thread, ends in self.running.items():
                    if thread not in self.stopped and _seconds_of(thread) > ends:
                        self.stopped.add(thread)
                        _raise_in(thread)


_watch = _RenderingWatch()


def _raise_in(thread: int) -> None:
    import ctypes

    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread), ctypes.py_object(_StoppedError))


def _seconds_of(thread: int) -> float:
    """Return the processor time of a live thread, or the clock's if the system does not report that."""
    if hasattr(time, "pthread_getcpuclockid"):
        return time.clock_gettime(time.pthread_getcpuclockid(thread))
    return time.monotonic()


class BoundedRendering:
    """A context manager for one rendering. Raises TemplateLimitError if that takes too much."""

    __slots__ = ("_limits", "_most_seconds")

    def __init__(self, *, most_seconds: float = MOST_SECONDS) -> None:
        self._most_seconds = most_seconds

    def __enter__(self) -> None:
        self._limits: tuple[int, int] | None = None
        _watch.start()
        thread = threading.get_ident()
        if _own_process and thread == threading.main_thread().ident:
            self._limits = _memory.bound()
        with _watch.lock:
            _watch.running[thread] = time.thread_time() + self._most_seconds

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        try:
            stopped = self._leave()
        except _StoppedError as late:  # it came just as the rendering had ended
            self._leave()
            stopped, error = True, late
        if stopped and not _was_stopped(error):
            _await_stop()
        if stopped:
            raise TemplateLimitError(
                f"the model's chat template was stopped after {self._most_seconds:g} s of work on one conversation; "
                f"{FIX}"
            ) from None
        if isinstance(error, MemoryError):
            raise TemplateLimitError(
                f"the model's chat template wants more than {MOST_BYTES >> 30} GiB of memory for a conversation; {FIX}"
            ) from None

    def _leave(self) -> bool:
        """End the watch and the bound, and return whether the rendering was stopped. Idempotent."""
        thread = threading.get_ident()
        with _watch.lock:
            _watch.running.pop(thread, None)
            stopped = thread in _watch.stopped
            _watch.stopped.discard(thread)
        if self._limits is not None:
            _memory.release(self._limits)
        return stopped


def _was_stopped(error: BaseException | None) -> bool:
    while error is not None:
        if isinstance(error, _StoppedError):
            return True
        error = error.__cause__ or error.__context__
    return False


def _await_stop() -> None:
    """Catch the exception that the watch has raised in this thread, which may come a moment after the rendering has
    ended."""
    try:
        for _ in range(1000):
            time.sleep(0.001)
    except _StoppedError:
        pass


class _RenderingMemory:
    """The address space of this process while it renders: what it has, and `MOST_BYTES`."""

    def __init__(self) -> None:
        self._bound = 0
        self._ended = self._uses = 0.0

    def bound(self) -> tuple[int, int]:
        """Set the limit, and return the previous limits."""
        import resource

        limits = resource.getrlimit(resource.RLIMIT_AS)
        # In between, a process may have grown for good; asking each time would take longer than most renderings.
        if time.perf_counter() - self._ended > _STALE_SECONDS or self._uses >= _STALE_USES:
            with open("/proc/self/statm", "rb", buffering=0) as file:
                used = int(file.read(32).split(b" ", 1)[0]) * resource.getpagesize()
            self._bound, self._uses = used + MOST_BYTES, 0
        self._uses += 1
        if limits[0] == resource.RLIM_INFINITY or self._bound < limits[0]:
            resource.setrlimit(resource.RLIMIT_AS, (self._bound, limits[1]))
        return limits

    def release(self, limits: tuple[int, int]) -> None:
        import resource

        resource.setrlimit(resource.RLIMIT_AS, limits)
        self._ended = time.perf_counter()


_memory = _RenderingMemory()


def refuse_long_rendering(text: str, given: Any) -> None:
    """Raise TemplateLimitError for a text that is far longer than its input."""
    if len(text) <= MOST_CHARACTERS:
        return
    import msgspec

    if len(text) > max(MOST_CHARACTERS, MOST_TIMES * len(msgspec.json.encode(given))):
        many = f"{len(text):,} characters of a conversation that is far shorter"
        raise TemplateLimitError(f"the model's chat template makes {many}; {FIX}")


def refuse_template_powers(template: Any) -> None:
    """Raise TemplateLimitError for a template with `**` between values: one power can keep a processor busy for days,
    and nothing can interrupt it. Chat templates have no use for it."""
    from jinja2 import Environment
    from jinja2.exceptions import TemplateError

    texts = template.values() if isinstance(template, dict) else [template]
    for text in texts:
        before = ""
        try:
            for _, kind, word in Environment().lex(str(text)) if "**" in str(text) else ():
                if kind == "operator" and word == "**" and before not in ("(", ","):
                    raise TemplateLimitError(
                        f"the model's chat template computes powers (**), which no chat needs; {FIX}"
                    )
                before = before if kind == "whitespace" else word
        except TemplateError:
            continue  # the renderer says so
