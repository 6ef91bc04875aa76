"""The present activity of this process, for progress messages."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field


@dataclass(frozen=True)
class DataActivity:
    """`words` say what is done; `share` how much of it is done, 0 to 1, or None if that is unknown."""

    words: str
    share: Callable[[], float | None]
    began: float = field(default_factory=time.monotonic)


_numbers = itertools.count()
_activities: dict[int, DataActivity] = {}


@contextmanager
def report_data_activity(words: str, share: Callable[[], float | None] = lambda: None) -> Iterator[None]:
    """Report during the block that this is being done."""
    number = next(_numbers)
    _activities[number] = DataActivity(words, share)
    try:
        yield
    finally:
        _activities.pop(number, None)


def latest_data_activity() -> DataActivity | None:
    """Return the activity that began last and still runs."""
    return next(reversed(list(_activities.values())), None)


def shown_data_activity() -> tuple[DataActivity, float | None] | None:
    """Return the activity to show with its share: the last begun whose share is known, else the last begun."""
    running = list(reversed(list(_activities.values())))
    for activity in running:
        with suppress(ValueError, OSError, ZeroDivisionError):  # what is read may end while it is looked at
            if (share := activity.share()) is not None:
                return activity, min(max(share, 0.0), 1.0)
    return (running[0], None) if running else None
