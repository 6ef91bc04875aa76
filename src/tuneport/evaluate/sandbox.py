"""Code that nobody has read is run in a process that can do little.

What holds on Linux from 5.13 on (elsewhere nothing is run): an empty environment; limits on time, memory, open files,
file sizes and processes; nothing is left running; files are readable only where Python and the system's libraries are,
and writable only in a folder that is deleted; other processes, and so the caller's keys, cannot be seen. Where the
kernel lets users make namespaces there is no network at all; else no TCP from 6.7 on. Where root runs it and nobody
else can read this Python, the program can start no processes and threads. `guarantees` says what holds here.

What does not: the kernel itself is not guarded as a virtual machine would, the disk is filled up to the limit of a file
times their number, and code that reads its own source can claim to have passed. Graders of strangers' code want more.
"""

from __future__ import annotations

import json
import secrets
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

from tuneport.errors import ConfigError, UnsupportedError
from tuneport.evaluate import confined

_STARTING = 20  # seconds that Python may take to start on a machine that is busy, beyond the program's own


@dataclass(frozen=True)
class Limits:
    """`seconds` are those of the clock, and of the processor."""

    seconds: int = 10
    memory_mib: int = 1024
    file_mib: int = 16
    files: int = 64
    processes: int = 16

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            if value < 1:
                raise ConfigError(f"{name} is {value}; the sandbox needs at least 1")


@dataclass(frozen=True)
class Outcome:
    """`passed`: the program came to its end. `why`: the last line that it complained with, or what ended it.

    `in_force`: what held beyond the rest: `no_network`, `no_tcp`, and `may_fork`, which is false where root runs it and
    nobody else can read Python.
    """

    passed: bool
    why: str
    in_force: dict[str, bool]


def run(program: str, limits: Limits | None = None) -> Outcome:
    """Run Python source to its end, or to a limit. UnsupportedError where this machine cannot confine it."""
    limits = limits or Limits()
    passed = secrets.token_hex(16)
    with tempfile.TemporaryDirectory(prefix="tuneport-code-", ignore_cleanup_errors=True) as outer:
        Path(outer).chmod(0o711)
        folder = Path(outer) / "run"
        folder.mkdir()
        ending = f"\nopen('passed', 'w').write('{passed}')\n"
        (folder / "main.py").write_text(program + ending, encoding="utf-8", errors="replace")
        report = Path(f"{folder}.report")
        report.touch()
        with (folder / "errors").open("wb") as errors:
            command = [sys.executable, "-I", confined.__file__, json.dumps(asdict(limits)), str(folder)]
            try:
                code = subprocess.run(
                    command,
                    env={},
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=errors,
                    timeout=limits.seconds + _STARTING,
                    start_new_session=True,
                    check=False,
                ).returncode
            except subprocess.TimeoutExpired:
                code = 124
        if code == confined.REFUSED or not report.stat().st_size:
            raise UnsupportedError(
                "code cannot be confined on this machine, so it is not run; use Linux 5.13 or newer with Landlock"
            )
        said = _read(folder / "errors")
        reached = _read(folder / "passed") == passed
        why = "" if code == 0 and reached else _why(code, said, limits)
        return Outcome(code == 0 and reached, why, json.loads(report.read_text()))


def guarantees() -> dict[str, bool]:
    """What holds on this machine beyond the rest, by an empty program: see `Outcome.in_force`."""
    return run("").in_force


def _read(path: Path, most: int = 4096) -> str:
    """The end of a file that the program may have made anything of."""
    if path.is_symlink() or not path.is_file():
        return ""
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - most))
        return file.read(most).decode("utf-8", "replace")


def _why(code: int, said: str, limits: Limits) -> str:
    if code in (124, 128 + 24):  # the clock, or the processor's limit
        return f"not done after {limits.seconds} s"
    lines = said.strip().splitlines()
    if lines:
        return lines[-1][:300]
    return "it ended before its tests did" if code == 0 else f"it ended with code {code}"
