"""`python -m tuneport.infer.parent_guard -- COMMAND`: runs a server that must not outlive the process that started this
one.

It ends with its stdin: when that closes, however the starter died, the command and all its own children are ended.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time

SECONDS_TO_END = 10.0


def run_parent_guard() -> int:
    # A session of its own: a server such as vLLM has children, which are ended with it.
    child = subprocess.Popen(sys.argv[sys.argv.index("--") + 1 :], stdin=subprocess.DEVNULL, start_new_session=True)
    signal.signal(signal.SIGTERM, lambda *_: _end(child))

    def watch() -> None:
        while os.read(0, 1024):
            pass
        _end(child)

    threading.Thread(target=watch, daemon=True).start()
    return child.wait()


def _end(child: subprocess.Popen[bytes]) -> None:
    for what in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(child.pid, what)
        except ProcessLookupError:
            break
        deadline = time.monotonic() + SECONDS_TO_END
        while child.poll() is None and time.monotonic() < deadline:
            time.sleep(0.05)
    os._exit(0)


if __name__ == "__main__":
    sys.exit(run_parent_guard())
