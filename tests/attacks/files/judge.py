"""Runs a command in a process of its own, bounded in time and memory, and says what was wrong with how it ended."""

from __future__ import annotations

import json
import os
import re
import resource
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

SECONDS = 60.0
PROGRESS = re.compile(r"^(reading|loading|waiting for|lm-eval on) .*: \d+ s", re.MULTILINE)


@dataclass(frozen=True)
class Ending:
    """`code` is None where the command was ended at the time limit; `peak` is its largest process, in bytes."""

    code: int | None
    out: str
    error: str
    seconds: float
    peak: int

    def faults(self, *, codes: Sequence[int] = (0, 2, 3), most: int, rows: int | None = None) -> list[str]:
        """What the promises forbid."""
        if self.code is None:
            return [] if PROGRESS.search(self.error) else [f"no word within {SECONDS:g} s"]
        found = [] if self.code in codes else [f"exit code {self.code}"]
        told = self.error + self.out
        found += [f"says {word!r}" for word in ("a bug in tuneport", "Traceback") if word in told]
        if sum(line.startswith("error:") for line in self.error.splitlines()) > 1:
            found.append("more than one error line")
        if self.code in (2, 3) and not self.error.strip() and not self.out.strip():
            found.append("ends without a word")
        if self.peak > most:
            found.append(f"took {self.peak >> 20} MiB")
        if self.code == 0 and rows is not None and (counted := _rows(self.out)) not in (None, rows):
            found.append(f"tells {counted} rows of {rows}")
        return found


def _rows(out: str) -> int | None:
    try:
        document = json.loads(out)
    except ValueError:
        return None
    return document.get("rows", document.get("records")) if isinstance(document, dict) else None


def run(
    arguments: Sequence[str], folder: Path, *, address_space: int, environment: Mapping[str, str] | None = None
) -> Ending:
    """Run `tuneport` with the arguments, in `folder`, with a home of its own there."""
    kept = {
        name: value for name, value in os.environ.items() if name in ("PATH", "LANG", "PYTHONPATH", "LD_LIBRARY_PATH")
    }
    kept |= {"HOME": str(folder), "TUNEPORT_HOME": str(folder / "home"), "HF_HUB_OFFLINE": "1", **(environment or {})}

    def bounded() -> None:
        resource.setrlimit(resource.RLIMIT_AS, (address_space, address_space))

    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as error:
        began = time.monotonic()
        child = subprocess.Popen(
            [sys.executable, "-m", "tuneport.cli.main", *arguments],
            cwd=folder,
            env=kept,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=error,
            start_new_session=True,
            preexec_fn=bounded,
        )
        late = threading.Event()

        def end() -> None:
            late.set()
            os.killpg(child.pid, signal.SIGKILL)

        timer = threading.Timer(SECONDS, end)
        timer.start()
        # Not of its usage, which remembers the process that it was forked from.
        peak = 0
        while os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
            peak = max(peak, _peak_memory(child.pid))
            time.sleep(0.02)
        _, status = os.waitpid(child.pid, 0)
        timer.cancel()
        child.returncode = os.waitstatus_to_exitcode(status)
        seconds = time.monotonic() - began
        texts = []
        for file in (out, error):
            file.seek(0)
            texts.append(file.read(4 << 20).decode("utf-8", "replace"))
    code = None if late.is_set() else child.returncode
    return Ending(code, texts[0], texts[1], seconds, peak)


def _peak_memory(process: int) -> int:
    """Return the most bytes that a process has held so far; 0 where it has ended, or is still its parent's image."""
    try:
        if Path(f"/proc/{process}/exe").resolve() != Path(sys.executable).resolve():
            return 0
        status = Path(f"/proc/{process}/status").read_text()
        return int(status.partition("VmHWM:")[2].split()[0]) * 1024
    except (OSError, IndexError, ValueError):
        return 0
