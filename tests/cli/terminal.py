"""A command on a terminal, as a person has it."""

from __future__ import annotations

import os
import pty
import select
import signal
import subprocess
import sys
import time

PATIENCE_SECONDS = 240.0


class Terminal:
    """A command that believes to be on a terminal, and what it has written there."""

    def __init__(self, *arguments: str) -> None:
        self.parent, child = pty.openpty()
        command = [sys.executable, "-m", "tuneport.cli.main", *arguments]
        self.process = subprocess.Popen(
            command, stdin=child, stdout=child, stderr=child, start_new_session=True, close_fds=True
        )
        os.close(child)
        self.screen = ""

    def type(self, text: str) -> None:
        os.write(self.parent, text.encode())

    def wait_for(self, what: str, *, after: int = 0) -> int:
        """Where the text ends on the screen."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while self.screen.find(what, after) < 0:
            assert time.monotonic() < deadline, self.screen[-2000:]
            self._look()
        return self.screen.find(what, after) + len(what)

    def interrupt_until(self, what: str, *, after: int) -> int:
        """Ctrl-C at a prompt, as often as a person would press it.

        Python may write the prompt, take the signal, and only then begin to read: the first one is noted when the read
        returns, which without a second one is never.
        """
        deadline = time.monotonic() + PATIENCE_SECONDS
        while self.screen.find(what, after) < 0:
            assert time.monotonic() < deadline, self.screen[-2000:]
            self.process.send_signal(signal.SIGINT)
            self._look()
        return self.screen.find(what, after) + len(what)

    def wait_for_more(self) -> None:
        before, deadline = len(self.screen), time.monotonic() + PATIENCE_SECONDS
        while len(self.screen) <= before + 2:  # more than the end of the line that was typed
            assert time.monotonic() < deadline, self.screen[-2000:]
            self._look()

    def _look(self) -> None:
        if select.select([self.parent], [], [], 1.0)[0]:
            self.screen += os.read(self.parent, 4096).decode(errors="replace")

    def close(self) -> int:
        code = self.process.wait(timeout=PATIENCE_SECONDS)
        os.close(self.parent)
        return code
