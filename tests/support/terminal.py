"""A command on a terminal, as a person has it; or in this process, with a stdout that says that it is one."""

from __future__ import annotations

import os
import pty
import re
import select
import signal
import subprocess
import sys

import pytest

from tests.support.waiting import PATIENCE_SECONDS, until


def pretend_terminal(monkeypatch: pytest.MonkeyPatch, columns: int = 80) -> None:
    """Let stdout say that it is a terminal. Call it in the test itself: stdout is another one in a fixture."""
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)


def without_styles(text: str) -> str:
    return re.sub(r"\x1b\[[\d;]*m", "", text)


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

        def look() -> bool:
            self._look()
            return self.screen.find(what, after) >= 0

        if self.screen.find(what, after) < 0:
            until(look, pause=0, told=lambda: f"{what!r} is not on the screen:\n{self.screen[-2000:]}")
        return self.screen.find(what, after) + len(what)

    def interrupt_until(self, what: str, *, after: int) -> int:
        """Ctrl-C at a prompt, as often as a person would press it.

        Python may write the prompt, take the signal, and only then begin to read: the first one is noted when the read
        returns, which without a second one is never.
        """

        def press() -> bool:
            if self.screen.find(what, after) < 0:
                self.process.send_signal(signal.SIGINT)
                self._look()
            return self.screen.find(what, after) >= 0

        until(press, pause=0, told=lambda: f"{what!r} is not on the screen:\n{self.screen[-2000:]}")
        return self.screen.find(what, after) + len(what)

    def wait_for_more(self) -> None:
        before = len(self.screen)

        def look() -> bool:
            self._look()
            return len(self.screen) > before + 2  # more than the end of the line that was typed

        until(look, pause=0, told=lambda: f"the screen:\n{self.screen[-2000:]}")

    def _look(self) -> None:
        if select.select([self.parent], [], [], 1.0)[0]:
            self.screen += os.read(self.parent, 4096).decode(errors="replace")

    def close(self) -> int:
        code = self.process.wait(timeout=PATIENCE_SECONDS)
        os.close(self.parent)
        return code
