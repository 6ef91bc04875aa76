"""Looks at a folder again and again, as fast as it can, and notes each path that others may read or enter.

`python watcher.py FOLDER`: until its standard input is closed. A line of JSON a finding: the path, its mode, and
whether all folders above it, from FOLDER's own on, let others in.
"""

from __future__ import annotations

import json
import os
import stat
import sys
import threading


def look(path: str, reachable: bool, seen: dict[str, tuple[int, bool]]) -> None:
    try:
        mode = os.lstat(path).st_mode
    except OSError:
        return
    if stat.S_ISLNK(mode):
        return
    if mode & 0o077:
        seen.setdefault(path, (stat.S_IMODE(mode), reachable))
    if stat.S_ISDIR(mode):
        try:
            names = os.listdir(path)
        except OSError:
            return
        for name in names:
            look(os.path.join(path, name), reachable and bool(mode & 0o011), seen)


def main(folder: str) -> None:
    ended = threading.Event()
    threading.Thread(target=lambda: (sys.stdin.read(), ended.set()), daemon=True).start()
    seen: dict[str, tuple[int, bool]] = {}
    looks = 0
    print("watching", flush=True)
    while not ended.is_set() or looks == 0:
        look(folder, True, seen)
        looks += 1
    look(folder, True, seen)
    for path, (mode, reachable) in sorted(seen.items()):
        print(json.dumps([os.path.relpath(path, folder), oct(mode), reachable]))
    print(json.dumps(looks))


if __name__ == "__main__":
    main(sys.argv[1])
