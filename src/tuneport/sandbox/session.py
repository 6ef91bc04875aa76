"""A confined process that answers requests, started and ended from outside."""

from __future__ import annotations

import contextlib
import json
import os
import select
import subprocess
import sys
import tempfile
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tuneport.errors import ConfigError, UnsupportedError, one_line
from tuneport.sandbox import inside, launcher, requirements, walls

_STARTING = 30  # seconds that the launcher may take on a machine that is busy
_ENDING = 20
_LONGEST_REPLY = 1 << 20
_KEPT_COMPLAINT = 4096
UNLIMITED = -1


@dataclass(frozen=True)
class SandboxLimits:
    """The resources that a run may use. `seconds` are of the clock, and of the processor in each process.

    In a session that is asked again and again, they are those of a call: of the clock, and of the processor in all
    processes together.

    `memory_mib` and `disk_mib` are of the whole run; `file_mib` is of each file, `files` are open ones of a process.
    """

    seconds: int = 10
    memory_mib: int = 1024
    file_mib: int = 16
    files: int = 64
    processes: int = 16
    disk_mib: int = 64

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            if value < 1:
                raise ConfigError(f"{name} is {value}; the sandbox needs at least 1")


class SandboxSession:
    """A confined process. Raises UnsupportedError or ConfigError if this machine cannot confine it.

    `cpu_seconds` limits the processor time of each of its processes, which run until the session is closed; None: each
    call has its limit, and what runs between calls is stopped. Close it, or use it as a context manager.
    `own_root`: whether it has a root folder of its own, see the room's docstring.
    """

    def __init__(self, limits: SandboxLimits, *, cpu_seconds: int | None = None, own_root: bool | None = None) -> None:
        requirements.check_machine_can_confine()
        self.own_root = requirements.can_bubblewrap_make_root() if own_root is None else own_root
        self._complaint: deque[bytes] = deque(maxlen=_KEPT_COMPLAINT)
        self._buffer = b""
        folder = walls.FOLDER
        self._remove: Callable[[], Any] = lambda: None
        if not self.own_root:
            outer = tempfile.mkdtemp(prefix="tuneport-code-")
            self._remove = weakref.finalize(self, _remove, outer)
            os.chmod(outer, 0o711)
            folder = str(Path(outer, "run"))
            os.mkdir(folder, 0o700)  # the launcher gives it to the user that runs the code
        listens: int | None = None
        self._control: int | None = None
        if cpu_seconds is None:
            listens, self._control = os.pipe()
        order = {
            "limits": asdict(limits) | {"cpu_seconds": UNLIMITED if cpu_seconds is None else cpu_seconds},
            "folder": folder,
            "readable": [*walls.sandbox_readable_paths(), *walls.DEVICES],
            "denied": walls.sandbox_denied_system_calls(),
            "control": listens,
            "inside": inside.__file__,
            "own_root": self.own_root,
        }
        bubblewrap = requirements.find_bubblewrap()
        root = walls.bubblewrap_command(bubblewrap, disk_mib=limits.disk_mib) if self.own_root and bubblewrap else []
        command = [*root, sys.executable, "-I", "-B", launcher.__file__, json.dumps(order)]
        pipe = subprocess.PIPE
        kept = () if listens is None else (listens,)
        try:
            self._process = subprocess.Popen(
                command, stdin=pipe, stdout=pipe, stderr=pipe, env={}, start_new_session=True, pass_fds=kept
            )
        finally:
            for number in kept:
                os.close(number)
        self._end = weakref.finalize(self, _end, self._process, self._control)
        self._listener = threading.Thread(target=_listen, args=(self._process.stderr, self._complaint), daemon=True)
        self._listener.start()
        report = self._read(time.monotonic() + _STARTING)
        if report is None or "refused" in report:
            self.close()
            said = str(report["refused"]) if report else self.stderr_tail.strip() or "it did not start"
            reason = one_line(said.splitlines()[-1][:300])
            raise UnsupportedError(
                f"the code cannot be confined on this machine, so it is not run: {reason}; leave the code out, or use "
                "another machine"
            )

    def __enter__(self) -> SandboxSession:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def ask(self, request: dict[str, Any], seconds: float) -> dict[str, Any] | None:
        """Return the answer, or None if there is none in time, or the process has ended: then close the session."""
        deadline = time.monotonic() + seconds
        line = json.dumps(request).encode() + b"\n"
        self._tell(b"+")
        try:
            return self._read(deadline) if self._write(line, deadline) else None
        finally:
            self._tell(b"-")

    def wait(self, seconds: float) -> int | None:
        """Return the exit code of a process that ends by itself, None if it does not in time."""
        try:
            code = self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            return None
        self._listener.join(timeout=1)  # so that `stderr_tail` is whole
        return code

    @property
    def stderr_tail(self) -> str:
        """Return the end of its standard error."""
        return b"".join(self._complaint).decode("utf-8", "replace")

    def close(self) -> None:
        """End the process and all that it has started. Does nothing the second time."""
        self._end()
        self._listener.join(timeout=1)
        self._remove()

    def _tell(self, word: bytes) -> None:
        """Tell the launcher that a call begins or is over."""
        if self._control is not None and self._end.alive:
            with contextlib.suppress(BrokenPipeError):  # it has ended
                os.write(self._control, word)

    def _write(self, line: bytes, deadline: float) -> bool:
        assert self._process.stdin is not None
        number = self._process.stdin.fileno()
        os.set_blocking(number, False)
        while line:
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([], [number], [], left)[1]:
                return False
            try:
                line = line[os.write(number, line) :]
            except BlockingIOError:
                continue
            except BrokenPipeError:
                return False
        return True

    def _read(self, deadline: float) -> dict[str, Any] | None:
        """Return the next line as an object. Confined code may write anything, and much of it."""
        assert self._process.stdout is not None
        number = self._process.stdout.fileno()
        while b"\n" not in self._buffer:
            left = deadline - time.monotonic()
            if left <= 0 or len(self._buffer) > _LONGEST_REPLY or not select.select([number], [], [], left)[0]:
                return None
            piece = os.read(number, 1 << 16)
            if not piece:
                return None
            self._buffer += piece
        line, self._buffer = self._buffer.split(b"\n", 1)
        try:
            value = json.loads(line)
        except (ValueError, RecursionError):
            return None
        return value if isinstance(value, dict) else None


def _listen(stream: Any, kept: deque[bytes]) -> None:
    while piece := os.read(stream.fileno(), 1 << 16):
        kept.extend(bytes([value]) for value in piece[-_KEPT_COMPLAINT:])


def _remove(outer: str) -> None:
    launcher.empty_sandbox_folder(outer)
    with contextlib.suppress(OSError):
        os.rmdir(outer)


def _end(process: subprocess.Popen[bytes], control: int | None) -> None:
    """Close the launcher's standard input, so that it kills what it has started; kill it if it does not end."""
    if process.stdin is not None and not process.stdin.closed:
        process.stdin.close()
    if control is not None:
        os.close(control)
    try:
        process.wait(_ENDING)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
