"""Runs one Python file as a prisoner. Started by `sandbox.py` as a script, with the standard library alone.

    python -I confined.py LIMITS FOLDER     (LIMITS: JSON; runs FOLDER/main.py; writes FOLDER.report)

In order: root becomes nobody, whose processes a limit counts (where nobody cannot read this Python: no new processes at
all); new user, process, network and IPC namespaces; a child in a session of its own with resource limits; Landlock,
after which nothing can be read but Python and the system's libraries, and nothing written but the folder. Landlock is a
must: without it this refuses, since the caller's environment would be readable in /proc.
"""

from __future__ import annotations

import ctypes
import json
import os
import resource
import signal
import struct
import sys
import time

REFUSED = 125
_LIBC = ctypes.CDLL(None, use_errno=True)
_NEW_USER, _NEW_PROCESSES, _NEW_NETWORK, _NEW_IPC = 0x10000000, 0x20000000, 0x40000000, 0x08000000
_NO_NEW_PRIVILEGES, _DIE_WITH_PARENT, _ADOPT_ORPHANS = 38, 1, 36
_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446  # the same numbers on every architecture
_READ_AND_EXECUTE = 0b1101  # execute, read file, read directory
_READ_AND_WRITE_FILE = 0b110
_RIGHTS = {1: 13, 2: 14, 3: 15, 4: 15, 5: 16}  # how many of the file system's rights each version of Landlock knows
_FILE_ONLY = 0b1 | 0b10 | 0b100 | 1 << 14 | 1 << 15  # rights that mean something for a file that is no directory
NOBODY = 65534


def main() -> int:
    limits, folder = json.loads(sys.argv[1]), sys.argv[2]
    version = _LIBC.syscall(_CREATE_RULESET, None, 0, 1)
    if sys.platform != "linux" or version < 1:
        return REFUSED
    _LIBC.prctl(_NO_NEW_PRIVILEGES, 1, 0, 0, 0)
    _LIBC.prctl(_ADOPT_ORPHANS, 1, 0, 0, 0)
    with open(folder + ".report", "w") as report:
        counted = os.geteuid() != 0 or _become_nobody(folder)
        isolated = _LIBC.unshare(_NEW_USER | _NEW_PROCESSES | _NEW_NETWORK | _NEW_IPC) == 0
        json.dump({"no_network": isolated, "no_tcp": isolated or version >= 4, "may_fork": counted}, report)
    child = os.fork()
    if child == 0:
        try:
            _serve_time(limits, folder, version, isolated=isolated, counted=counted)
        except BaseException as error:
            sys.stderr.write(f"not confined: {error}\n")
        finally:
            os._exit(REFUSED)
    return _wait(child, limits["seconds"])


def _become_nobody(folder: str) -> bool:
    """Not where nobody could not start this Python, which lies in root's home, say."""
    try:
        os.setgroups([])
        os.setresgid(NOBODY, NOBODY, 0)
        os.setresuid(NOBODY, NOBODY, 0)
        can = os.access(sys.executable, os.X_OK, effective_ids=True) and os.access(os.__file__, os.R_OK)
        os.setresuid(0, 0, 0)
        os.setresgid(0, 0, 0)
        if not can:
            return False
        for name in (folder, os.path.join(folder, "main.py")):
            os.chown(name, NOBODY, NOBODY)
        os.setresgid(NOBODY, NOBODY, NOBODY)
        os.setresuid(NOBODY, NOBODY, NOBODY)
    except OSError:
        return False
    return True


def _serve_time(limits: dict[str, int], folder: str, version: int, *, isolated: bool, counted: bool) -> None:
    _LIBC.prctl(_DIE_WITH_PARENT, signal.SIGKILL, 0, 0, 0)
    os.setsid()
    os.chdir(folder)
    others = 0 if isolated else _processes_of(os.getuid())
    for kind, most in (
        (resource.RLIMIT_CPU, limits["seconds"]),
        (resource.RLIMIT_AS, limits["memory_mib"] << 20),
        (resource.RLIMIT_FSIZE, limits["file_mib"] << 20),
        (resource.RLIMIT_NOFILE, limits["files"]),
        (resource.RLIMIT_NPROC, others + limits["processes"]),
        (resource.RLIMIT_CORE, 0),
    ):
        resource.setrlimit(kind, (most, most))
    _confine(folder, version)
    if not counted:
        _forbid_processes()
    os.execve(sys.executable, [sys.executable, "-I", "-B", "main.py"], {"OPENBLAS_NUM_THREADS": "1", "HOME": folder})


def _confine(folder: str, version: int) -> None:
    """Landlock. OSError where it does not hold, so that nothing runs unconfined."""
    files = (1 << _RIGHTS.get(version, 16)) - 1
    connections = 0b11 if version >= 4 else 0  # TCP: bind, connect
    scopes = 0b11 if version >= 6 else 0  # abstract sockets and signals of processes outside
    attributes = struct.pack("QQQ", files, connections, scopes)
    size = 24 if version >= 6 else 16 if version >= 4 else 8
    ruleset = _checked(_LIBC.syscall(_CREATE_RULESET, attributes, size, 0))
    readable = {sys.prefix, sys.base_prefix, os.path.realpath(sys.executable), "/usr", "/lib", "/lib64", "/bin"}
    for path in (*readable, "/etc/ld.so.cache", "/etc/localtime"):
        _allow(ruleset, path, _READ_AND_EXECUTE & files)
    for path in ("/dev/null", "/dev/zero", "/dev/urandom"):
        _allow(ruleset, path, _READ_AND_WRITE_FILE & files)
    _allow(ruleset, folder, files)
    _checked(_LIBC.syscall(_RESTRICT_SELF, ruleset, 0))
    os.close(ruleset)


def _allow(ruleset: int, path: str, rights: int) -> None:
    try:
        place = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    if not os.path.isdir(path):
        rights &= _FILE_ONLY
    _checked(_LIBC.syscall(_ADD_RULE, ruleset, 1, struct.pack("=Qi", rights, place), 0))
    os.close(place)


def _forbid_processes() -> None:
    """For root, whose processes no limit counts: seccomp refuses fork and clone. OSError where it does not hold."""
    known = {"x86_64": (0xC000003E, (56, 57, 58, 435)), "aarch64": (0xC00000B7, (220, 435))}
    architecture, calls = known[os.uname().machine]
    load, equal, at_least, give = 0x20, 0x15, 0x35, 0x06  # of the packet filter's machine
    refuse, allow = 0x00050001, 0x7FFF0000  # EPERM, go on
    program = [(load, 0, 0, 4), (equal, 0, len(calls) + 2, architecture), (load, 0, 0, 0)]
    program += [(at_least, len(calls) + 1, 0, 0x40000000)]  # the x32 way to call
    program += [(equal, len(calls) - place, 0, call) for place, call in enumerate(calls)]
    program += [(give, 0, 0, allow), (give, 0, 0, refuse)]
    program[1] = (equal, 0, len(program) - 3, architecture)
    code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *line) for line in program))
    filter_ = ctypes.create_string_buffer(struct.pack("HxxxxxxQ", len(program), ctypes.addressof(code)))
    _checked(_LIBC.prctl(22, 2, filter_, 0, 0))


def _checked(result: int) -> int:
    if result < 0:
        raise OSError(ctypes.get_errno(), "Landlock does not hold")
    return result


def _processes_of(user: int) -> int:
    """Threads of the user, which is what its limit counts."""
    found = 0
    for name in os.listdir("/proc"):
        try:
            if name.isdigit() and os.stat(f"/proc/{name}").st_uid == user:
                found += len(os.listdir(f"/proc/{name}/task"))
        except OSError:
            continue
    return found


def _wait(child: int, seconds: int) -> int:
    """Its exit code, 124 where its time is up. Afterwards nothing of it is alive."""
    deadline = time.monotonic() + seconds
    code = None
    while code is None and time.monotonic() < deadline:
        done, status = os.waitpid(child, os.WNOHANG)
        code = os.waitstatus_to_exitcode(status) if done else None
        time.sleep(0.005)
    if code is None:
        os.kill(child, signal.SIGKILL)  # in a namespace of processes the first one takes all with it
        os.waitpid(child, 0)
        code = 124
    try:
        os.killpg(child, signal.SIGKILL)
    except OSError:
        pass
    for _ in range(1000):  # those that left its session are adopted here
        orphans = _children()
        if not orphans:
            break
        for orphan in orphans:
            os.kill(orphan, signal.SIGKILL)
            os.waitpid(orphan, 0)
    return 128 - code if code < 0 else code


def _children() -> list[int]:
    with open(f"/proc/self/task/{os.getpid()}/children") as children:
        return [int(name) for name in children.read().split()]


if __name__ == "__main__":
    sys.exit(main())
