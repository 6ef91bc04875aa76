"""Makes small work go to two processes, as large work does on two cores."""

from __future__ import annotations

from concurrent.futures import Future
from typing import Any

import pytest

from tuneport.data.running import ordered_map as ordered
from tuneport.data.running.worker_pool import WorkerPool


def always(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The places of the parts that helpers are handed are noted in what is returned."""
    handed: list[int] = []

    class Ready(WorkerPool):
        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments)
            self.ready.result()  # waits for it, which nobody does otherwise

        def submit(self, method: str, *arguments: Any) -> Future[Any]:
            handed.append(arguments[0])
            return super().submit(method, *arguments)

    monkeypatch.setattr(ordered, "WorkerPool", Ready)
    monkeypatch.setattr(ordered, "WORTH_SECONDS", 0.0)
    monkeypatch.setattr(ordered, "count_worker_processes", lambda: 2)
    return handed
