"""Starts the code of one run under sandlock and looks after it. Run as a script, in a root folder of its own if it can.

    python -I launcher.py ORDER     (a JSON object; see `session.SandboxSession`)

Standard input and output are those of the code (`inside.py`). Before it, this writes one line: what holds, or why the
code was not started. The run ends with the code, with its limits, or when its standard input is closed.
Whatever it started is dead afterwards. Needs sandlock and the standard library only.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import resource
import select
import signal
import stat
import sys
import time
from typing import Any

_ADOPT_ORPHANS, _SET_DUMPABLE = 36, 4
_NOBODY = 65534
_LOOK_SECONDS = 0.004
_IDLE_SECONDS = 0.1  # between looks while all is stopped
_FOLDER_SECONDS = 0.02  # between looks at a small folder; one that takes long is looked at for a tenth of the time
_PROCESSOR_LOOKS = 5
_LEAST_SIZE = 4096  # of what has a name: an empty file takes its entry


def main() -> int:
    order = json.loads(sys.argv[1])
    os.environ["HOME"] = order["folder"]  # sandlock asks for it
    if order["control"] is not None:
        os.set_inheritable(order["control"], False)
    ctypes.CDLL(None).prctl(_ADOPT_ORPHANS, 1, 0, 0, 0)
    try:
        if os.geteuid() == 0:
            become_nobody(order["folder"], chown=not order["own_root"])
        process = start_sandlock(order)
    except Exception as error:
        report_to_sandbox_parent({"refused": f"{type(error).__name__}: {error}"})
        return 125
    restrict_confined_process(process.pid, order["limits"])
    report_to_sandbox_parent({"own_root": order["own_root"]})
    code = supervise_confined_process(process, order)
    kill_sandbox_descendants()
    if not order["own_root"]:
        empty_sandbox_folder(order["folder"])
    with contextlib.suppress(OSError):  # another run of this user is using it
        os.rmdir(f"/dev/shm/sandlock-{os.getuid()}")
    return code


def report_to_sandbox_parent(what: dict[str, Any]) -> None:
    os.write(1, json.dumps(what).encode() + b"\n")


def become_nobody(folder: str, *, chown: bool) -> None:
    """Give root's rights away for those of a user that owns nothing, and that no other run shares if possible."""
    for user in (2_000_000_000 + int.from_bytes(os.urandom(3), "big"), _NOBODY):
        try:
            if chown:
                os.chown(folder, user, user)
            os.setgroups([])
            os.setresgid(user, user, user)
            os.setresuid(user, user, user)
        except OSError:  # a container may know few users
            continue
        break
    if os.geteuid() == 0:
        raise PermissionError("root cannot become another user here")
    ctypes.CDLL(None).prctl(_SET_DUMPABLE, 1, 0, 0, 0)  # sandlock reads /proc of its own processes
    if not os.access(sys.executable, os.X_OK) or not os.access(__file__, os.R_OK):
        raise PermissionError(f"{sys.executable} can be read by root only; install Python where all users can read it")


def start_sandlock(order: dict[str, Any]) -> Any:
    from sandlock import Sandbox

    limits, folder = order["limits"], order["folder"]
    sandbox = Sandbox(
        fs_readable=order["readable"],
        fs_writable=[folder, "/dev/null"],
        extra_deny_syscalls=order["denied"],
        max_processes=limits["processes"],
        no_coredump=True,
        clean_env=True,
        env={"HOME": folder, "TMPDIR": folder, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"},
        cwd=folder,
    )
    return sandbox.popen([sys.executable, "-I", "-B", order["inside"]])


def restrict_confined_process(process: int, limits: dict[str, int]) -> None:
    """Set a process's resource limits; its children inherit them. The process must be waiting for its first line."""
    others = sum(1 for name in os.listdir("/proc") if name.isdigit() for _ in list_sandbox_threads(name)) - 1
    for kind, most in (
        (resource.RLIMIT_CPU, limits["cpu_seconds"]),
        (resource.RLIMIT_AS, limits["memory_mib"] << 20),
        (resource.RLIMIT_FSIZE, limits["file_mib"] << 20),
        (resource.RLIMIT_NOFILE, limits["files"]),
        (resource.RLIMIT_NPROC, others + limits["processes"]),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_MEMLOCK, 0),
        (resource.RLIMIT_MSGQUEUE, 0),
    ):
        resource.prlimit(process, kind, (most, most))


def list_sandbox_threads(process: str) -> list[str]:
    try:
        mine = os.stat(f"/proc/{process}").st_uid == os.geteuid()
        return os.listdir(f"/proc/{process}/task") if mine else []
    except OSError:
        return []


def supervise_confined_process(process: Any, order: dict[str, Any]) -> int:
    """Return the exit code of the code, or of what ended it: 137 for its limits, 124 if the caller has gone."""
    limits, control, looks, stopped, folder_due = order["limits"], order["control"], 0, False, 0.0
    calls = SandboxCallTimer()
    caller = select.poll()
    caller.register(0, 0)  # only that it is closed
    exit_of = os.pidfd_open(process.pid)
    news = select.poll()
    for number in (exit_of, control):
        if number is not None:
            news.register(number, select.POLLIN)
    while True:
        ready = dict(news.poll(1000 * (_IDLE_SECONDS if stopped else _LOOK_SECONDS)))
        if exit_of in ready:
            break
        looks += 1
        if caller.poll(0):
            return 124
        there, reason = list_sandbox_descendants(), ""
        if control in ready and not calls.read_control(os.read(control, 4096), there):
            return 124
        stopped = calls.between and stop_confined_processes(there)
        if measure_sandbox_memory(there, limits["memory_mib"] << 20) > limits["memory_mib"] << 20:
            reason = f"MemoryError: the run used more than {limits['memory_mib']} MiB"
        elif control is not None and looks % _PROCESSOR_LOOKS == 0 and calls.cpu_seconds(there) > limits["seconds"]:
            reason = f"TimeoutError: the call used more than {limits['seconds']} s of the processors"
        elif not order["own_root"] and time.monotonic() >= folder_due:
            began = time.monotonic()
            if fills_sandbox_disk(order["folder"], there, limits):
                reason = f"OSError: the run wrote more than {limits['disk_mib']} MiB, or hid what it wrote"
            folder_due = time.monotonic() + max(_FOLDER_SECONDS, 10 * (time.monotonic() - began))
        if reason:
            kill_sandbox_descendants()
            write_sandbox_stderr_line(reason)
            return 137
    result = process.wait()
    return int(result.exit_code if result.exit_code >= 0 else 128 + max(0, result.signal))


class SandboxCallTimer:
    """The calls of a session: the caller writes "+" before each and "-" after it. What runs in between is stopped."""

    def __init__(self) -> None:
        self.between = False
        self._before = 0.0
        self._seen: dict[int, tuple[str, float]] = {}  # when it began, and its seconds so far
        self._ended = 0.0

    def read_control(self, said: bytes, processes: list[int]) -> bool:
        """Read what the caller sent. Return whether there still is a caller."""
        if b"+" in said:
            self._before += self.cpu_seconds(processes)
        self.between = said.endswith(b"-")
        if not self.between:
            for process in processes:
                signal_sandboxed_process(process, signal.SIGCONT)
        return bool(said)

    def cpu_seconds(self, processes: list[int]) -> float:
        """Return the seconds of all processors that this call has used.

        They are counted twice, and the larger number is right: what was seen of each process, and what the remaining
        ones have reaped. Neither includes a child that ends between two looks and is never waited for.
        """
        reaped = sum(read_sandbox_process_times(os.getpid())[1][2:])
        for process in processes:
            began, times = read_sandbox_process_times(process)
            reaped += sum(times)
            if process in self._seen and self._seen[process][0] != began:
                self._ended += self._seen[process][1]
            if began:
                self._seen[process] = (began, times[0] + times[1])
        for process in self._seen.keys() - set(processes):
            self._ended += self._seen.pop(process)[1]
        return max(reaped, self._ended + sum(seconds for _, seconds in self._seen.values())) - self._before


def read_sandbox_process_times(process: int) -> tuple[str, list[float]]:
    """Return when a process began, and its seconds of the processor: user, system, and both of what it reaped."""
    fields = read_sandbox_stat(f"/proc/{process}")
    if not fields:
        return "", [0.0] * 4
    return fields[19], [int(ticks) / os.sysconf("SC_CLK_TCK") for ticks in fields[11:15]]


def read_sandbox_stat(place: str) -> list[str]:
    """Return the fields from the state on, none if it has ended."""
    try:
        with open(f"{place}/stat", errors="replace") as stat_file:
            return stat_file.read().rsplit(")", 1)[1].split()
    except (OSError, IndexError):
        return []


def stop_confined_processes(processes: list[int]) -> bool:
    """Stop the processes. Return whether all were stopped already; what forks meanwhile needs another look."""
    running = [
        p
        for p in processes
        if any((read_sandbox_stat(place) or "X")[0] not in "TtZX" for place in list_thread_folders(p))
    ]
    for process in running:
        signal_sandboxed_process(process, signal.SIGSTOP)
    return not running


def list_thread_folders(process: int) -> list[str]:
    """Return the folders of its threads: the first may have ended before the others, and then shows nothing."""
    try:
        return [f"/proc/{process}/task/{thread}" for thread in os.listdir(f"/proc/{process}/task")]
    except OSError:
        return []


def signal_sandboxed_process(process: int, number: int) -> None:
    try:
        os.kill(process, number)
    except OSError:
        return


def write_sandbox_stderr_line(text: str) -> None:
    os.write(2, f"\n{text}\n".encode())


def list_sandbox_descendants() -> list[int]:
    """Return the processes started below this one, orphans included, as they are adopted here."""
    found, open_ = [], [os.getpid()]
    while open_:
        parent = open_.pop()
        try:
            threads = os.listdir(f"/proc/{parent}/task")
        except OSError:
            continue
        for thread in threads:
            try:
                with open(f"/proc/{parent}/task/{thread}/children") as children:
                    below = [int(name) for name in children.read().split()]
            except OSError:
                continue
            found += below
            open_ += below
    return found


def measure_sandbox_memory(processes: list[int], enough: int) -> int:
    """Return the bytes that the processes have for themselves; what they share counts once, if it matters."""
    quick = {process: sum_proc_fields(process, "status", ("RssAnon:", "RssShmem:")) or 0 for process in processes}
    if sum(quick.values()) << 10 <= enough:
        return sum(quick.values()) << 10
    exact = {process: sum_proc_fields(process, "smaps_rollup", ("Pss_Anon:", "Pss_Shmem:")) for process in processes}
    return sum(quick[process] if value is None else value for process, value in exact.items()) << 10


def sum_proc_fields(process: int, name: str, fields: tuple[str, ...]) -> int | None:
    """Return the sum of the fields, None if the process hides them."""
    hidden = False
    for place in (f"/proc/{process}", *list_thread_folders(process)):
        try:
            with open(f"{place}/{name}") as lines:
                found = [int(line.split()[1]) for line in lines if line.startswith(fields)]
        except PermissionError:
            hidden = True
        except (OSError, ValueError, IndexError):  # it has ended
            continue
        else:
            if found:
                return sum(found)
    return None if hidden else 0


def fills_sandbox_disk(folder: str, processes: list[int], limits: dict[str, int]) -> bool:
    """Return whether files below the folder, or without a name, take more than the limit, or cannot be counted."""
    most = limits["disk_mib"] << 20
    try:
        named = measure_sandbox_folder_size(folder, most)
        return named > most or named + measure_sandbox_unlinked(folder, processes, limits["file_mib"] << 20) > most
    except OSError:  # a folder that may not be read, or lies too deep
        return True


def measure_sandbox_folder_size(folder: str, enough: int) -> int:
    total, waiting = 0, [folder]
    while waiting and total <= enough:
        try:
            entries = os.scandir(waiting.pop())
        except (FileNotFoundError, NotADirectoryError):
            continue
        with entries:
            for entry in entries:
                try:
                    about = entry.stat(follow_symlinks=False)
                except FileNotFoundError:
                    continue
                total += max(about.st_blocks * 512, _LEAST_SIZE)
                if stat.S_ISDIR(about.st_mode):
                    waiting.append(entry.path)
                if total > enough:
                    break
    return total


def measure_sandbox_unlinked(folder: str, processes: list[int], largest: int) -> int:
    """Return the bytes of deleted files that are still open or mapped, or `largest` if they cannot be counted."""
    opened: dict[tuple[int, int], int] = {}
    mapped: set[tuple[int, int]] = set()
    for place in [task for process in processes for task in list_thread_folders(process)]:
        try:
            for number in os.listdir(f"{place}/fd"):
                try:
                    about = os.stat(f"{place}/fd/{number}")
                except FileNotFoundError:
                    continue
                if about.st_nlink == 0 and stat.S_ISREG(about.st_mode):
                    opened[about.st_dev, about.st_ino] = about.st_blocks * 512
                elif stat.S_ISSOCK(about.st_mode) and sandbox_socket_holds_files(f"{place}/fdinfo/{number}"):
                    raise OSError("files are kept in a socket, where they cannot be counted")
            with open(f"{place}/maps", errors="replace") as lines:
                for line in lines:
                    if line.endswith(" (deleted)\n") and f" {folder}/" in line:
                        device, inode = line.split(None, 5)[3:5]
                        major, minor = (int(part, 16) for part in device.split(":"))
                        mapped.add((os.makedev(major, minor), int(inode)))
        except (FileNotFoundError, ProcessLookupError):
            continue
        except PermissionError:
            if (read_sandbox_stat(place) or "X")[0] not in "ZX":
                raise
    return sum(opened.values()) + largest * len(mapped - opened.keys())


def sandbox_socket_holds_files(socket: str) -> bool:
    """Return whether files were sent to a socket and not received."""
    for pause in (0.005, 0.0):
        with open(socket) as lines:
            if not any(int(line.split()[1]) for line in lines if line.startswith("scm_fds:")):
                return False
        time.sleep(pause)
    return True


def empty_sandbox_folder(folder: str) -> None:
    """Delete what is in a folder, whatever modes it was given. Each folder is moved up, so that no path is too long."""
    waiting = [folder]
    while waiting:
        here = waiting.pop()
        try:
            os.chmod(here, 0o700)
            for name in os.listdir(here):
                path = os.path.join(here, name)
                if stat.S_ISDIR(os.lstat(path).st_mode):
                    os.chmod(path, 0o700)
                    waiting.append(os.path.join(folder, os.urandom(8).hex()))
                    os.rename(path, waiting[-1])
                else:
                    os.unlink(path)
            if here != folder:
                os.rmdir(here)
        except OSError:
            continue


def kill_sandbox_descendants() -> None:
    """Kill what is left and wait for it; those that left the session were adopted here."""
    deadline = time.monotonic() + 10
    while (left := list_sandbox_descendants()) and time.monotonic() < deadline:
        for process in left:
            signal_sandboxed_process(process, signal.SIGKILL)
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        except ChildProcessError:
            return
        time.sleep(0.001)


if __name__ == "__main__":
    code = main()
    sys.stderr.flush()
    os._exit(code)  # sandlock's threads are not waited for
