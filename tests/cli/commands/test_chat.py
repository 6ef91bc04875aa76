"""A conversation on a terminal, with a real model behind it."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from tests.support.commands import Run
from tests.support.terminal import Terminal
from tests.support.tiny import endless, tiny_model

pytest.importorskip("transformers", reason="local inference is an extra: pip install 'tuneport[local]'")


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
