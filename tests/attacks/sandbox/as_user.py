"""Runs a command as an ordinary user, in mounts of its own in which that user can reach this Python. Root starts it.

python as_user.py COMMAND...      (below `unshare --mount`)
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

USER = 12345


def main() -> None:
    root = Path(__file__).resolve().parents[3]
    needed = [Path(sys.base_prefix), Path(sys.prefix), root, *map(Path, os.environ.get("PYTHONPATH", "").split(":"))]
    for place in needed:
        for parent in reversed(place.parents):
            if not parent.stat().st_mode & 0o001:
                cover(parent, [other for other in needed if other.is_relative_to(parent)])
    os.setgroups([])
    os.setresgid(USER, USER, USER)
    os.setresuid(USER, USER, USER)
    os.environ["HOME"] = "/tmp"
    os.execv(sys.argv[1], sys.argv[1:])


def cover(closed: Path, shown: list[Path]) -> None:
    """Put an empty folder over one that is root's alone, and in it only the folders that are needed."""
    held = Path("/mnt")
    subprocess.run(["mount", "-t", "tmpfs", "-o", "mode=755", "tmpfs", held], check=True)
    for number, place in enumerate(shown):
        (held / str(number)).mkdir()
        subprocess.run(["mount", "--bind", place, held / str(number)], check=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "mode=755", "tmpfs", closed], check=True)
    for number, place in enumerate(shown):
        place.mkdir(parents=True, exist_ok=True)
        subprocess.run(["mount", "--bind", held / str(number), place], check=True)


if __name__ == "__main__":
    main()
