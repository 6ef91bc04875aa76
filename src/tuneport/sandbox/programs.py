"""Runs a whole program, such as a model's answer with the tests of its row."""

from __future__ import annotations

import secrets
import time
from dataclasses import dataclass

from tuneport.sandbox.session import SandboxLimits, SandboxSession

_TIME_IS_UP = 128 + 24  # by the limit on the processor


@dataclass(frozen=True)
class ProgramResult:
    """`passed`: the program came to its end. `why`: the last line that it complained with, or what ended it.

    `own_root`: whether it ran in a root folder of its own, see the room's docstring.
    """

    passed: bool
    why: str
    own_root: bool


def run_sandboxed_program(
    program: str, limits: SandboxLimits | None = None, *, own_root: bool | None = None
) -> ProgramResult:
    """Run Python source to its end, or to a limit. Raises UnsupportedError if this machine cannot confine it.

    `own_root`: False leaves bubblewrap out even if it works.
    """
    limits = limits or SandboxLimits()
    reached = secrets.token_hex(16)
    with SandboxSession(limits, cpu_seconds=limits.seconds, own_root=own_root) as session:
        deadline = time.monotonic() + limits.seconds
        answer = session.ask({"program": program, "reached": reached}, limits.seconds)
        code = session.wait(max(0.0, deadline - time.monotonic()))
        session.close()
        passed = code == 0 and answer == {"reached": reached}
        why = "" if passed else _why(code, session.stderr_tail, limits)
        return ProgramResult(passed, why, session.own_root)


def _why(code: int | None, said: str, limits: SandboxLimits) -> str:
    if code in (None, 124, _TIME_IS_UP):
        return f"not done after {limits.seconds} s"
    lines = said.strip().splitlines()
    if lines:
        return lines[-1][:300]
    return "it ended before its tests did" if code == 0 else f"it ended with code {code}"
