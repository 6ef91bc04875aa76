"""A conversation on a terminal, with a real model behind it."""

from __future__ import annotations

import os
import pty
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.cli.conftest import Run
from tests.train.tiny import endless, tiny_model

pytest.importorskip("transformers", reason="local inference is an extra: pip install 'tuneport[local]'")
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


def test_ctrl_c_stops_the_answer_and_not_the_conversation(tmp_path: Path) -> None:
    model = endless(tiny_model(tmp_path / "endless", context=200_000))
    terminal = Terminal("chat", str(model), "--backend", "local", "--max-tokens", "150000")
    at = terminal.wait_for("> ")
    terminal.type("hello\n")
    at = terminal.wait_for("hello", after=at)
    for _ in range(3):  # it comes in pieces: the screen grows while the answer is far from its end
        terminal.wait_for_more()
    terminal.process.send_signal(signal.SIGINT)
    at = terminal.wait_for("(stopped)", after=at)
    at = terminal.wait_for("> ", after=at)
    assert terminal.process.poll() is None
    terminal.type("and again\n")
    at = terminal.wait_for("and again", after=at)
    terminal.wait_for_more()
    terminal.process.send_signal(signal.SIGINT)
    at = terminal.wait_for("(stopped)", after=at)
    at = terminal.wait_for("> ", after=at)
    at = terminal.interrupt_until("(Ctrl-D ends the chat)", after=at)
    terminal.wait_for("> ", after=at)
    terminal.type("\x04")
    assert terminal.close() == 0
    assert "Traceback" not in terminal.screen and "\x1b[2J" not in terminal.screen


def test_a_message_is_answered_whole_where_nobody_watches(run: Run, tmp_path: Path) -> None:
    model = str(tiny_model(tmp_path / "tiny"))
    code, document, error = run("chat", model, "hello", "--backend", "local", "--max-tokens", "8", "--json")
    assert code == 0, error
    assert document["completion_tokens"] == 8 and document["seconds"] >= document["seconds_to_first_token"] > 0
