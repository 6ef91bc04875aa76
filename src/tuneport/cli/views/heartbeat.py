"""A line on stderr while a command is busy for long and prints nothing else."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from tuneport.cli.views import output
from tuneport.data.running.underway import latest_data_activity

FIRST_SECONDS = 20.0
EVERY_SECONDS = 30.0
_LOOK_SECONDS = 1.0
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
    """Print what is being done, after `first_seconds` and then every `every_seconds`, if `underway` knows it."""
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

    threading.Thread(target=tell, name="tuneport-heartbeat", daemon=True).start()
    try:
        yield
    finally:
        ended.set()
