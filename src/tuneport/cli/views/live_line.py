"""One line at the cursor that shows what a command is busy with. Whatever else is written there erases it first."""

from __future__ import annotations

import re
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

_ERASE = "\r\x1b[2K"
_CONTROL = re.compile(r"\x1b\[[?\d;]*[a-zA-Z]")
_TAIL = 200  # characters: enough for the control sequences behind the last line end
_lock = threading.RLock()
_state = {"shown": False, "line_begun": False, "others": 0}


def draw_live_line(text: str) -> None:
    """Draw the line on stderr, in place of the one before. Draws nothing while another live display is up, or behind
    text whose line has not ended, such as a streamed answer. `text` has no control characters."""
    with _lock:
        if _state["others"] or _state["line_begun"]:
            return
        sys.stderr.write(_ERASE + text)
        sys.stderr.flush()
        _state["shown"] = True


def erase_live_line() -> None:
    with _lock:
        if _state["shown"]:
            sys.stderr.write(_ERASE)
            sys.stderr.flush()
        _state["shown"] = False


def make_way_for(text: str) -> None:
    """Remove the line before `text` is written to the terminal, and remember whether that ends its line."""
    with _lock:
        erase_live_line()
        if seen := _CONTROL.sub("", text[-_TAIL:]):
            _state["line_begun"] = not seen.endswith("\n")


def line_was_ended() -> None:
    """Record that the line was ended by its reader, who answered a question on it."""
    with _lock:
        _state["line_begun"] = False


@contextmanager
def other_live_display() -> Iterator[None]:
    """Draw no line during the block: a progress bar is up."""
    with _lock:
        erase_live_line()
        _state["others"] += 1
    try:
        yield
    finally:
        with _lock:
            _state["others"] -= 1
            _state["line_begun"] = False  # a display ends its line
