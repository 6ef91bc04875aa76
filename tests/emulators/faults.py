"""Faults on demand, and the record of an exchange."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any, Literal, get_args

from .wire import Request

FaultKind = Literal["status", "html", "hang", "drop", "drop_after_accept", "slow", "cut"]
HTML_PAGE = b"<!DOCTYPE html><html><head><title>Bad gateway</title></head><body><h1>Error 502</h1></body></html>"


@dataclass
class Fault:
    """One armed fault; see `Emulator.fail`."""

    kind: FaultKind = "status"
    method: str | None = None
    path: str = "**"
    times: int | None = 1
    skip: int = 0
    status: int | None = None
    body: Any = None
    headers: dict[str, str] | None = None
    seconds: float = 30.0

    def __post_init__(self) -> None:
        if self.kind not in get_args(FaultKind):
            raise ValueError(f"no such kind of fault: {self.kind}")
        # `*` and `{name}` stand for one segment, `**` for any number.
        escaped = re.sub(r"\\\{\w+\\\}", r"\\*", re.escape(self.path))
        self._pattern = re.compile(escaped.replace(r"\*\*", ".*").replace(r"\*", "[^/]+"))

    def takes(self, request: Request, prefix: str) -> bool:
        """Whether this fault is for the request; counts down when it is."""
        paths = (request.path, request.path.removeprefix(prefix))
        if self.times == 0 or self.method not in (None, request.method):
            return False
        if not any(self._pattern.fullmatch(path) for path in paths):
            return False
        if self.skip:
            self.skip -= 1
            return False
        if self.times is not None:
            self.times -= 1
        return True


@dataclass
class Exchange:
    """One request and what became of it; `status` is None where no answer was sent."""

    method: str
    path: str
    query: dict[str, str]
    request_headers: dict[str, str]
    request_body: bytes
    status: int | None
    response_headers: dict[str, str]
    response_body: bytes
    fault: str | None

    def request_json(self) -> Any:
        return json.loads(self.request_body)

    def json(self) -> Any:
        return json.loads(self.response_body)
