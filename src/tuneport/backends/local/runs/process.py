"""Child processes of the local backend: a clean environment, an identity that pid reuse cannot forge, and locks.

A trainer outlives the process that started it, so nothing here relies on being its parent: whether it lives is read
from the lock it holds and from what the operating system says about its pid.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from tuneport import private

# Wide on purpose: a trainer needs none of the variables that it hits by mistake (SSH_AUTH_SOCK, XAUTHORITY ...).
_SECRET_NAME = re.compile(
    r"KEY|TOKEN|SECRET|PASS|CREDENTIAL|AUTH|COOKIE|PRIVATE|BEARER|JWT|WEBHOOK|(?:^|_)(?:PAT|DSN)(?:$|_)", re.IGNORECASE
)
_HARMLESS = frozenset({"TOKENIZERS_PARALLELISM"})
_USER_AND_PASSWORD_IN_URL = re.compile(r"://[^/\s@]*:[^/\s@]+@")
_PROXIES = frozenset({"http_proxy", "https_proxy", "all_proxy", "no_proxy"})
SECONDS_TO_DIE = 5.0
_SHORTEST_SECRET = 8  # characters; a shorter value would match by chance


def local_trainer_environment(environment: Mapping[str, str], secrets: Iterable[str] = ()) -> dict[str, str]:
    """Return `environment` without what may be a secret: by name, by one of `secrets` in it, or a password in a URL.

    Proxies stay, password or not: without them a child behind one cannot fetch a model from the hub.
    """
    known = [secret for secret in secrets if len(secret) >= _SHORTEST_SECRET]
    kept = {}
    for name, value in environment.items():
        if name in _HARMLESS or name.lower() in _PROXIES:
            kept[name] = value
            continue
        if _SECRET_NAME.search(name) or _USER_AND_PASSWORD_IN_URL.search(value):
            continue
        if any(secret in value for secret in known):
            continue
        kept[name] = value
    if "PYTHONPATH" in kept:  # the child works in another folder, where relative entries mean something else
        kept["PYTHONPATH"] = os.pathsep.join(str(Path(entry).absolute()) for entry in kept["PYTHONPATH"].split(":"))
    return kept | {"PYTHONUNBUFFERED": "1", "TOKENIZERS_PARALLELISM": kept.get("TOKENIZERS_PARALLELISM", "false")}


def machine_boot_id() -> str:
    """Return the id of this boot of the machine, or "" if the system has none."""
    with contextlib.suppress(OSError):
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    return ""


def count_local_run_memory_kills() -> int | None:
    """Return how many processes Linux has killed for lack of memory since it booted, or None if it does not say."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/vmstat").read_text(encoding="ascii").splitlines():
            name, _, count = line.partition(" ")
            if name == "oom_kill":
                return int(count)
    return None


def local_run_process_start(pid: int) -> str | None:
    """Return when the process `pid` started, in the system's own format, or None if it does not run, or is a zombie.

    With the pid and `machine_boot_id` it identifies a process for good: a later process with the same pid started
    later.
    """
    if sys.platform.startswith("linux"):
        try:
            # The second field is the program's name in brackets, which may itself hold brackets and spaces.
            fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
        except OSError:
            return None
        return None if fields[0] in (b"Z", b"X", b"x") else fields[19].decode("ascii")
    listed = subprocess.run(
        ["ps", "-o", "state=,lstart=", "-p", str(pid)], capture_output=True, text=True, check=False
    ).stdout.split(None, 1)
    return None if len(listed) < 2 or listed[0].startswith("Z") else listed[1].strip()


def spawn_local_run(
    command: Sequence[str], folder: Path, environment: Mapping[str, str], log: Path, *, keep: Sequence[int] = ()
) -> int:
    """Start `command` in `folder`, detached from this process and its terminal, and return its pid.

    Its output is appended to `log`, and it inherits the open files `keep` under their numbers. A thread waits for it,
    so that it leaves no zombie while this process stays.
    """
    with open(log, "ab", opener=private.private_file_opener) as output:
        child = subprocess.Popen(
            list(command),
            cwd=folder,
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            close_fds=True,
            pass_fds=keep,
            umask=private.child_umask(folder),
        )
    threading.Thread(target=child.wait, name=f"tuneport-wait-{child.pid}", daemon=True).start()
    return child.pid


def signal_local_run_processes(pid: int, started: str, number: signal.Signals) -> bool:
    """Send a signal to the group that `pid` leads, if it is still the process that started at `started`."""
    if local_run_process_start(pid) != started:
        return False
    with contextlib.suppress(ProcessLookupError):
        os.killpg(pid, number)
        return True
    return False


def kill_local_run_processes(pid: int, started: str | None) -> None:
    """Kill a child that this process has just spawned, with all that it started, and wait until it is gone.

    `started`: its start time if that could be read. Until the wait for it ends, its pid is not reused.
    """
    with contextlib.suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)
    wait_for_local_run_end(pid, started)


def wait_for_local_run_end(pid: int, started: str | None, *, most_seconds: float = SECONDS_TO_DIE) -> None:
    """Wait for the process that started at `started`, but no longer than `most_seconds`."""
    deadline = time.monotonic() + most_seconds
    while started and local_run_process_start(pid) == started and time.monotonic() < deadline:
        time.sleep(0.01)


def kill_leftover_run_processes(pid: int) -> None:
    """Kill what a child of that pid started and left behind, if the child, which led their group, is dead.

    While one of them lives, the system gives their group's number to no other process.
    """
    if local_run_process_start(pid) is None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(pid, signal.SIGKILL)
