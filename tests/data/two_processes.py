"""Makes small work go to two processes, as large work does on two cores."""

from __future__ import annotations

import os
from typing import Any

import pytest

from tests.support.folders import CHECKOUT
from tuneport.data.running import ordered_map as ordered


def always(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The parts that helpers are handed are noted in what is returned."""
    handed: list[int] = []
    begin, hand = ordered._Helper.__init__, ordered._Helper.hand

    def ready(self: Any, *arguments: Any) -> None:
        begin(self, *arguments)
        assert self.answer() == {}  # waits for it, which nobody does otherwise

    def noted(self: Any, place: int, part: Any) -> None:
        handed.append(place)
        hand(self, place, part)

    monkeypatch.setattr(ordered._Helper, "__init__", ready)
    monkeypatch.setattr(ordered._Helper, "hand", noted)
    monkeypatch.setattr(ordered, "WORTH_SECONDS", -1.0)
    monkeypatch.setattr(ordered, "cores", lambda: 2)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(CHECKOUT), os.environ.get("PYTHONPATH", "")]))
    return handed
