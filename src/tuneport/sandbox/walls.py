"""The walls of confined code: readable paths, forbidden system calls, and its root folder."""

from __future__ import annotations

import os
import sys
import sysconfig
from pathlib import Path

from tuneport.errors import ConfigError

FOLDER = "/sandbox"  # where a run writes, in a root folder of its own

# Beyond those that sandlock forbids by itself (mount, ptrace, keyctl, io_uring, bpf, perf ...).
_DENIED = (
    # Mode, owner, times and attributes of files, for which Landlock has no rights.
    *("fchmod", "fchmodat", "fchmodat2", "fchown", "fchownat", "utimensat", "file_getattr", "file_setattr"),
    *(f"{prefix}{verb}xattr" for verb in ("get", "set", "list", "remove") for prefix in ("", "l", "f")),
    *("getxattrat", "setxattrat", "listxattrat", "removexattrat"),
    # Limits, priorities, memory and descriptors of other processes of the same user.
    *("prlimit64", "setpriority", "ioprio_set", "sched_setscheduler", "sched_setparam", "sched_setattr"),
    *("sched_setaffinity", "kcmp", "process_madvise", "process_mrelease", "move_pages", "migrate_pages"),
    *("pidfd_open", "pidfd_getfd", "pidfd_send_signal", "get_robust_list"),
    # Memory that belongs to no process.
    *("memfd_create", "memfd_secret", "remap_file_pages", "mq_open", "mq_unlink", "vmsplice"),
    # Watching and describing what is outside; other roots, devices and clocks.
    *("inotify_init1", "inotify_add_watch", "fanotify_init", "fanotify_mark", "statfs", "syslog", "quotactl_fd"),
    *("chroot", "open_tree", "open_tree_attr", "move_mount", "mount_setattr", "statmount", "listmount", "fsopen"),
    *("fsconfig", "fsmount", "fspick", "mknodat", "vhangup", "settimeofday", "clock_settime", "clock_adjtime"),
    *("adjtimex", "kexec_file_load"),
)
# The names that x86 has kept of older days.
_DENIED_ON_X86 = (
    *("chmod", "chown", "lchown", "utime", "utimes", "futimesat", "inotify_init", "mknod", "ustat", "sysfs", "uselib"),
    *("modify_ldt", "setrlimit"),
)

# Not all of /usr: images keep the operator's files in /usr/src/app and in /usr/local.
_SYSTEM = ("/usr/lib", "/usr/lib32", "/usr/lib64", "/usr/bin", "/usr/share/zoneinfo", "/usr/local/lib")
_SYSTEM_BY_SHORT_NAMES = ("/lib", "/lib32", "/lib64", "/bin")
_SETTINGS = ("/etc/ld.so.cache", "/etc/localtime", "/etc/alternatives")
DEVICES = ("/dev/null", "/dev/zero", "/dev/random", "/dev/urandom")


def sandbox_denied_system_calls() -> list[str]:
    """Return the names of the system calls that confined code may not make, beyond those that sandlock forbids."""
    return [*_DENIED, *(_DENIED_ON_X86 if os.uname().machine == "x86_64" else ())]


def sandbox_readable_paths() -> list[str]:
    """Return the folders and files that confined code may read: Python, its packages and the system's libraries."""
    paths = [*_SYSTEM, *_SYSTEM_BY_SHORT_NAMES, *_SETTINGS, *_python(), str(Path(__file__).parent)]
    return [path for path in dict.fromkeys(paths) if os.path.exists(path)]


def _python() -> list[str]:
    """Return the places of this Python, never a whole prefix: `python -m venv .` makes that the project's folder."""
    base = Path(sys.base_prefix)
    places = [str(base / name) for name in ("lib", "lib64", "bin")]
    places += [str(Path(os.__file__).parent), os.path.realpath(sys.executable)]
    if sys.prefix != sys.base_prefix:
        places += [sysconfig.get_path("purelib"), sysconfig.get_path("platlib"), sys.executable]
        places.append(str(Path(sys.prefix, "pyvenv.cfg")))
    return sorted(set(places))


def check_sandbox_hides_folders(home: Path | None = None) -> None:
    """Raise ConfigError if confined code could read the present folder or tuneport's home.

    `home`: the settings' home, if known; TUNEPORT_HOME, or its default, is checked in any case.
    """
    given = os.environ.get("TUNEPORT_HOME") or "~/.tuneport"
    private = [
        ("the present folder", os.path.realpath("."), "go to another folder"),
        ("TUNEPORT_HOME", os.path.expanduser(given), "set TUNEPORT_HOME to another folder"),
        ("TUNEPORT_HOME", str(home or os.path.expanduser(given)), "set TUNEPORT_HOME to another folder"),
    ]
    open_ = [os.path.realpath(path) for path in sandbox_readable_paths()]
    for what, place, remedy in private:
        real = Path(os.path.realpath(place))
        if found := next((path for path in open_ if real.is_relative_to(path)), None):
            raise ConfigError(
                f"the code is not run: {what} {place} lies in {found}, which code in the sandbox can read; {remedy}"
            )


def bubblewrap_command(bubblewrap: str, *, disk_mib: int) -> list[str]:
    """Return the command, up to the program, that starts it in a root folder and namespaces of its own.

    What it writes lies in memory, `disk_mib` at most. As root it has no user namespace: it becomes a user of its own.
    """
    command = [bubblewrap, "--unshare-ipc", "--unshare-pid", "--unshare-net", "--unshare-uts", "--unshare-cgroup-try"]
    if os.geteuid() != 0:
        command.append("--unshare-user")
    command += ["--new-session", "--clearenv", "--hostname", "sandbox", "--proc", "/proc", "--dev", "/dev"]
    command += ["--perms", "1777", "--size", str(1 << 20), "--tmpfs", "/dev/shm"]  # sandlock's own files
    bound: list[str] = []
    for path in sandbox_readable_paths():
        for parent in reversed(Path(path).parents[:-1]):
            if not any(parent.is_relative_to(other) for other in bound):
                command += ["--perms", "0755", "--dir", str(parent)]  # else bubblewrap makes it for root alone
        command += ["--ro-bind", path, path]
        bound.append(path)
    size = str(disk_mib << 20)
    command += ["--perms", "1777", "--size", size, "--tmpfs", FOLDER, "--chdir", FOLDER, "--remount-ro", "/"]
    return command
