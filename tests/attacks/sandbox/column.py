"""Runs the attacks as the user that it is, and writes a JSON line for each.

python -m tests.attacks.sandbox.column control|run [--alone] [--only NAME]...

`control` runs them without a sandbox, in a folder that is thrown away; `run` with the tuneport that Python imports.
`--alone`: without bubblewrap.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import secrets
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from tests.attacks.sandbox.attacks import ATTACKS, Attack
from tests.attacks.sandbox.world import SECRET, World

SECONDS = 4
Runner = Callable[[str], str]


def sandboxed(alone: bool) -> Runner:
    try:
        from tuneport.sandbox.programs import run_sandboxed_program
        from tuneport.sandbox.session import SandboxLimits
    except ModuleNotFoundError:  # the tree before the sandbox was a room
        from tuneport.evaluate.sandbox import Limits as SandboxLimits  # type: ignore[no-redef]
    limits = SandboxLimits(seconds=SECONDS, memory_mib=128)
    return lambda program: run_sandboxed_program(program, limits, **({"own_root": False} if alone else {})).why


def unconfined(program: str) -> str:
    with tempfile.TemporaryDirectory(
        prefix=f"tuneport-code-control-{os.getpid()}-", ignore_cleanup_errors=True
    ) as folder:
        Path(folder, "main.py").write_text(program)
        done = subprocess.run(
            [sys.executable, "main.py"],
            cwd=folder,
            capture_output=True,
            text=True,
            close_fds=False,
            check=False,
            stdin=subprocess.DEVNULL,
        )
        lines = done.stderr.strip().splitlines()
        KEPT.append(Path(folder, "a/b").exists() and any(Path(folder, "a/b").iterdir()))
        return lines[-1] if lines else ""


KEPT: list[bool] = []


def attempt(attack: Attack, world: World, runner: Runner) -> bool:
    told = world.prepare(fresh_victim=attack.group == "processes")
    program = attack.whole_program(told)
    begun = time.monotonic()
    with world.watch as watch:
        if attack.name == "serve TCP to others":
            watch.serve_from(world.free)
        world.said = runner(program)
        world.took = time.monotonic() - begun
    if runner is unconfined and attack.name.startswith("files that stay"):
        return KEPT[-1]
    # A signal kills, and a thread hears, a moment later; without a sandbox each attack shows itself in the end.
    patience = time.monotonic() + (5 if runner is unconfined else 0.2)
    while not (succeeded := attack.succeeded(world)) and time.monotonic() < patience:
        time.sleep(0.05)
    return succeeded


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("kind", choices=["control", "run"])
    parser.add_argument("--alone", action="store_true")
    parser.add_argument("--only", action="append")
    given = parser.parse_args()
    if SECRET not in os.environ:  # so that it is in the environment that /proc shows
        os.execve(sys.executable, [*sys.orig_argv], os.environ | {SECRET: "sk-" + secrets.token_hex(16)})
    ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)  # what is left behind can be seen below this process
    runner = unconfined if given.kind == "control" else sandboxed(given.alone)
    world = World()
    try:
        for attack in ATTACKS:
            if (given.only and attack.name not in given.only) or (attack.root_only and os.geteuid() != 0):
                continue
            try:
                succeeded, error = attempt(attack, world, runner), ""
            except Exception as problem:
                succeeded, error = False, f"{type(problem).__name__}: {problem}"
            line = {"group": attack.group, "name": attack.name, "succeeded": succeeded, "error": error}
            print(json.dumps(line | {"said": world.said[-200:]}), flush=True)
    finally:
        world.close()


if __name__ == "__main__":
    main()
