"""The activity of a command, on stderr: a live line on a terminal, else a line now and then."""

from __future__ import annotations

import os
import shutil
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from tuneport.cli.views import output
from tuneport.cli.views.live_line import draw_live_line, erase_live_line
from tuneport.data.running.underway import latest_data_activity, shown_data_activity

FIRST_SECONDS = 20.0
EVERY_SECONDS = 30.0
_LOOK_SECONDS = 1.0
_LIVE_AFTER_SECONDS = 1.0
_LIVE_LOOK_SECONDS = 0.2
_BAR = 20
_TURNING = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"
_SHORT_SECONDS = 5.0
"""Shorter work gets no line, such as the next chunk of a streamed answer."""


@contextmanager
def print_heartbeat(
    *,
    first_seconds: float = FIRST_SECONDS,
    every_seconds: float = EVERY_SECONDS,
    look_seconds: float = _LOOK_SECONDS,
    short_seconds: float = _SHORT_SECONDS,
) -> Iterator[None]:
    """Print what is being done, after `first_seconds` and then every `every_seconds`, if `underway` knows it. On a
    terminal it is one line that goes with the work, after a second."""
    live = sys.stderr.isatty() and os.environ.get("TERM") != "dumb"
    ended = threading.Event()

    def tell() -> None:
        began = time.monotonic()
        due = began + first_seconds
        while not ended.wait(look_seconds):
            now, busy = time.monotonic(), latest_data_activity()
            if now < due or busy is None or now - busy.began < short_seconds:
                continue
            share = busy.share()
            done = "" if share is None else f", {min(share, 1.0):.0%} done"
            output.print_note(f"{output.terminal_line(busy.words)}: {now - busy.began:.0f} s{done}")
            due = now + every_seconds

    def draw() -> None:
        while not ended.wait(_LIVE_LOOK_SECONDS):
            shown = shown_data_activity()
            if shown is None or time.monotonic() - shown[0].began < _LIVE_AFTER_SECONDS:
                erase_live_line()
            else:
                draw_live_line(live_line_text(shown[0].words, shown[1], time.monotonic() - shown[0].began))
        erase_live_line()

    telling = threading.Thread(target=draw if live else tell, name="tuneport-heartbeat", daemon=True)
    telling.start()
    try:
        yield
    finally:
        ended.set()
        if live:
            telling.join(1.0)


def live_line_text(words: str, share: float | None, seconds: float, width: int | None = None) -> str:
    """Return the line: a bar with the share and the seconds that are left, or how long it has taken so far."""
    width = shutil.get_terminal_size().columns if width is None else width
    if share is None:
        turn = _TURNING[int(seconds / _LIVE_LOOK_SECONDS) % len(_TURNING)]
        rest = f" {turn} {output.duration(seconds)}"
    else:
        filled = round(share * _BAR)
        rest = f" {'█' * filled}{'░' * (_BAR - filled)} {share:4.0%}"
        if 0.02 <= share < 1:
            rest += f"  {output.duration(seconds / share - seconds)} left"
    words, room = output.terminal_line(words), max(0, width - len(rest) - 1)
    return f"{words if len(words) <= room else words[: max(0, room - 1)] + '…'}{rest}"[: max(1, width - 1)]
