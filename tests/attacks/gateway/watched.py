"""What this process does while somebody attacks it: files it opens, processes it starts, addresses it reaches.

Python's own audit events: the gateway, its intake and its poller are threads of the process that is watched.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

_STARTING = (
    "subprocess.Popen",
    "os.system",
    "os.exec",
    "os.posix_spawn",
    "os.spawn",
    "os.fork",
    "os.forkpty",
    "pty.spawn",
)
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT


class Watch:
    """Armed from `watching`; an audit hook can never be taken off again."""

    def __init__(self) -> None:
        self.armed = False
        self.homes: tuple[str, ...] = ()
        self.ports: frozenset[int] = frozenset()
        self.imported: frozenset[str] = frozenset()
        self.seen: list[str] = []
        self._lock = threading.Lock()
        self._own = tuple(
            str(Path(place).resolve()) for place in (sys.prefix, sys.base_prefix, Path(__file__).parents[3])
        )
        sys.addaudithook(self._hear)

    def _hear(self, event: str, arguments: Sequence[Any]) -> None:
        if not self.armed:
            return
        told = None
        if event == "open" and isinstance(arguments[0], str | bytes):
            path = os.path.abspath(os.fsdecode(arguments[0]))
            if not self._may_open(path, arguments[2]):
                told = f"opened {path}"
        elif event.startswith(_STARTING):
            told = f"{event} {arguments!r}"
        elif event in ("socket.connect", "socket.sendto", "socket.bind"):
            address = arguments[1]
            if not (isinstance(address, tuple) and address[1] in self.ports):
                told = f"{event} {address!r}"
        elif event == "socket.getaddrinfo" and str(arguments[1]) not in {str(port) for port in self.ports}:
            told = f"{event} {arguments[0]!r}"
        if told is not None:
            with self._lock:
                self.seen.append(told)

    def _may_open(self, path: str, flags: Any) -> bool:
        if path.startswith(self.homes) or path in ("/dev/null", "/dev/urandom"):
            return True
        # Python looks for the line of a formula's SyntaxError in a file of this name, which no client chooses; and
        # hypothesis keeps its tables of characters.
        if path.endswith("/<unknown>") or "/.hypothesis/" in path:
            return True
        # hypothesis reads constants out of modules that were there before, also those of other tests' folders.
        writes = (flags or 0) & _WRITING
        if path in self.imported and not writes:
            return True
        # Modules that are imported now, manifests and templates: read, never written, except compiled modules.
        return path.startswith(self._own) and (not writes or "__pycache__" in path)


_WATCH: list[Watch] = []


@contextmanager
def watching(home: Path, *ports: int) -> Iterator[list[str]]:
    """What was done outside `home` and `ports` while the block ran."""
    if not _WATCH:
        _WATCH.append(Watch())
    watch = _WATCH[0]
    files = [getattr(module, "__file__", None) for module in list(sys.modules.values())]
    watch.imported = frozenset(os.path.abspath(file) for file in files if file)
    watch.homes, watch.ports, watch.seen = (str(home.resolve()),), frozenset(ports), []
    watch.armed = True
    try:
        yield watch.seen
    finally:
        watch.armed = False
