"""Commands run by one child process, on a terminal of its own or in a pipe; what each wrote, as bytes."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence

MARK = "=====next command====="
_RUN = f"""
import json, sys
from tuneport.cli.main import main
for arguments in json.loads(sys.argv[1]):
    code = main(arguments)
    sys.stdout.flush(); sys.stderr.flush()
    print("\\n{MARK}", code, flush=True)
"""
CONTROL = re.compile(rb"\x1b\[[0-?]*[ -/]*[@-~]|\x1b[^\[]|[\x00-\x08\x0b-\x1f\x7f]|\xc2[\x80-\x9f]")
"""A sequence that a terminal obeys, or one byte of it; \\n and \\t are for everybody."""
UNSEEN = re.compile("[\u00ad\u200b-\u200f\u2028-\u202e\u2060\u2066-\u2069\ufeff]")


def run(commands: Sequence[Sequence[str]], environment: Mapping[str, str], *, terminal: bool) -> list[bytes]:
    """Stdout and stderr of each command together."""
    arguments = [sys.executable, "-c", _RUN, json.dumps([list(each) for each in commands])]
    if terminal:
        parent, child = pty.openpty()
        process = subprocess.Popen(
            arguments, stdin=subprocess.DEVNULL, stdout=child, stderr=child, env=dict(environment), close_fds=True
        )
        os.close(child)
        written = b""
        while True:
            try:
                piece = os.read(parent, 65536)
            except OSError:  # the other end is closed
                break
            if not piece:
                break
            written += piece
        process.wait()
        os.close(parent)
        written = written.replace(b"\r\n", b"\n")  # which the terminal's driver makes of each line end
    else:
        written = subprocess.run(
            arguments, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=dict(environment)
        ).stdout
    parts = re.split(rb"\n" + MARK.encode() + rb" \d+\n", written)
    assert len(parts) == len(commands) + 1, written[-3000:].decode(errors="replace")
    return parts[:-1]


def controls(written: bytes) -> set[bytes]:
    return set(CONTROL.findall(written))


def unseen(written: bytes) -> set[str]:
    return set(UNSEEN.findall(written.decode(errors="replace")))
