"""The line that shows on a terminal what a command is busy with."""

from __future__ import annotations

import io
import re
import sys
import time

import pytest

from tests.support.waiting import until
from tuneport.cli.views import live_line, output
from tuneport.cli.views.live import heartbeat
from tuneport.cli.views.live.heartbeat import live_line_text, print_heartbeat
from tuneport.data.running.underway import report_data_activity


class Screen(io.StringIO):
    """A stderr that is a terminal."""

    def isatty(self) -> bool:
        return True

    @property
    def line(self) -> str:
        """What stands on the last line, as a terminal would show it."""
        return re.split(r"\r\x1b\[2K|\n", self.getvalue())[-1]


def made_screen(monkeypatch: pytest.MonkeyPatch) -> Screen:
    """Make stderr such a terminal. No fixture: stderr is another one while a test is set up."""
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(heartbeat, "_LIVE_AFTER_SECONDS", 0.02)
    monkeypatch.setattr(heartbeat, "_LIVE_LOOK_SECONDS", 0.01)
    made = Screen()
    monkeypatch.setattr(sys, "stderr", made)
    live_line.line_was_ended()
    return made


def test_a_bar_shows_the_share_and_is_gone_at_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = made_screen(monkeypatch)
    with print_heartbeat():
        with report_data_activity("reading a\x1b[2Jb.csv", lambda: 0.25):
            until(lambda: "25%" in screen.line, pause=0.01)
            assert screen.line.startswith("reading a\ufffd[2Jb.csv █████░░░░░░░░░░░░░░░  25%")
        until(lambda: screen.line == "", pause=0.01)
    assert screen.line == "" and "\n" not in screen.getvalue()


def test_what_is_printed_meanwhile_stands_on_its_own_line(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = made_screen(monkeypatch)
    with print_heartbeat(), report_data_activity("loading m"):
        until(lambda: screen.line.startswith("loading m"), pause=0.01)
        output.print_note("note: one")
        until(lambda: screen.line.startswith("loading m"), pause=0.01)
        output.console(stderr=True).print("two")
    lines = [re.split(r"\r\x1b\[2K", line)[-1] for line in screen.getvalue().split("\n")]
    assert lines == ["note: one", "two", ""]


def test_no_line_is_drawn_amid_an_answer_or_beside_another_display(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    screen = made_screen(monkeypatch)
    with print_heartbeat(), report_data_activity("waiting for m"):
        with live_line.other_live_display():
            before = screen.getvalue()
            time.sleep(0.1)
            assert screen.getvalue() == before
        output.print_text("half an ans")
        before = screen.getvalue()
        time.sleep(0.1)
        assert screen.getvalue() == before
        output.print_text("wer\n")
        until(lambda: screen.line.startswith("waiting for m"), pause=0.01)


def test_a_known_share_is_shown_before_what_began_later(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = made_screen(monkeypatch)
    with print_heartbeat(), report_data_activity("asking 80 questions", lambda: 0.5), report_data_activity("waiting"):
        until(lambda: screen.line.startswith("asking 80 questions"), pause=0.01)


def test_a_share_that_cannot_be_told_ends_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = made_screen(monkeypatch)

    def closed() -> float:
        raise ValueError("I/O operation on closed file")

    with print_heartbeat(), report_data_activity("reading a.csv", closed):
        until(lambda: screen.line.startswith("reading a.csv "), pause=0.01)


@pytest.mark.parametrize("width", [20, 40, 80])
@pytest.mark.parametrize("share", [None, 0.0, 0.5, 1.0])
def test_the_line_fits(width: int, share: float | None) -> None:
    assert len(live_line_text("reading " + "x" * 100, share, 12.0, width)) < width


def test_the_rest_is_told_by_the_pace_so_far() -> None:
    assert live_line_text("reading a", 0.25, 10.0, 80).endswith(" 25%  30 s left")
    assert live_line_text("loading m", None, 10.0, 80).endswith(" 10 s")
