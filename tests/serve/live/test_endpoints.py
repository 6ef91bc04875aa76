"""Chats that wait for an endpoint leave room for those that need not."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tuneport.errors import NotDeployedError
from tuneport.lifecycle.service import JobService
from tuneport.serve.live.endpoints import ChatEndpoints
from tuneport.serve.timing import GatewayTiming
from tuneport.settings import Settings


def test_so_many_wait_side_by_side_and_the_next_is_told_to_ask_again(isolated: Path) -> None:
    (isolated / "tuneport.toml").write_text("[gateway]\nendpoint_usd_per_hour = 4.5\n")
    is_up, waiting = threading.Event(), threading.Semaphore(0)

    def ask() -> str:
        if not is_up.is_set():
            waiting.release()
            raise NotDeployedError("m has an endpoint that is starting", starting=True)
        return "answer"

    with JobService(Settings.load()) as workspace, ThreadPoolExecutor(2) as pool:
        asked = ChatEndpoints(workspace, GatewayTiming(endpoint_ask=0.01), most_waiting=2)
        two = [pool.submit(asked.answer_with_endpoint, "together", "m", ask) for _ in range(2)]
        for _ in range(4):  # each has asked again, so that each has its place
            assert waiting.acquire(timeout=10)
        while asked._places._value:  # type: ignore[attr-defined]
            assert waiting.acquire(timeout=10)
        try:
            with pytest.raises(NotDeployedError, match="2 chats wait for one already"):
                asked.answer_with_endpoint("together", "m", ask)
        finally:
            is_up.set()
        assert [each.result(timeout=10) for each in two] == ["answer", "answer"]
        assert asked.answer_with_endpoint("together", "m", ask) == "answer", "whoever need not wait needs no place"
        is_up.clear()
        third = pool.submit(asked.answer_with_endpoint, "together", "m", ask)
        assert waiting.acquire(timeout=10)
        is_up.set()
        assert third.result(timeout=10) == "answer", "places are given back"
        is_up.clear()
        last = pool.submit(asked.answer_with_endpoint, "together", "m", ask)
        assert waiting.acquire(timeout=10)
        asked.begin_shutdown()
        with pytest.raises(NotDeployedError):
            last.result(timeout=10)
