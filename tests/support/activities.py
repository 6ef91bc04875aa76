"""What a module reports to be under way."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest


def record_activities(monkeypatch: pytest.MonkeyPatch, module: str) -> dict[str, float | None]:
    """Return, by its words, the share at the end of each activity that the module reports from now on."""
    told: dict[str, float | None] = {}

    @contextmanager
    def report(words: str, share: Callable[[], float | None] = lambda: None) -> Iterator[None]:
        yield
        told[words] = share()

    monkeypatch.setattr(f"{module}.report_data_activity", report)
    return told
