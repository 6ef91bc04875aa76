"""Reads the attacks of `attacks.toml`."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# Before each program. The last line of standard error is the only thing that a caller shows of a run: `tell` writes it.
PREFIX = """
import os, sys, ctypes, socket, struct, time, errno, signal
L = ctypes.CDLL(None, use_errno=True)
def call(number, *arguments):
    result = L.syscall(*(ctypes.c_long(a) if isinstance(a, int) else a for a in (number, *arguments)))
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result
def tell(text):
    sys.stderr.write(chr(10) + 'told:' + str(text) + chr(10)); sys.stderr.flush(); os._exit(3)
"""


@dataclass(frozen=True)
class Attack:
    """`root_only`: an ordinary user could not do it without a sandbox either."""

    group: str
    name: str
    program: str
    trace: str
    root_only: bool = False

    def whole_program(self, told: dict[str, Any]) -> str:
        return f"W = {told!r}\n{PREFIX}\n{self.program}\n"

    def succeeded(self, world: Any) -> bool:
        return bool(eval(self.trace, {"world": world}))


ATTACKS = [Attack(**each) for each in tomllib.loads(Path(__file__).with_name("attacks.toml").read_text())["attack"]]
