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
    begin, hand = ordered._PartWorkerProcess.__init__, ordered._PartWorkerProcess.hand_part

    def ready(self: Any, *arguments: Any) -> None:
        begin(self, *arguments)
        assert self.receive_parts() == {}  # waits for it, which nobody does otherwise

    def noted(self: Any, place: int, part: Any) -> None:
        handed.append(place)
        hand(self, place, part)

    monkeypatch.setattr(ordered._PartWorkerProcess, "__init__", ready)
    monkeypatch.setattr(ordered._PartWorkerProcess, "hand_part", noted)
    monkeypatch.setattr(ordered, "WORTH_SECONDS", -1.0)
    monkeypatch.setattr(ordered, "count_worker_processes", lambda: 2)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(CHECKOUT), os.environ.get("PYTHONPATH", "")]))
    return handed
