"""The faults, each with what a run must make of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from tuneport.testing.emulators.openai.emulator import REFUSALS

Outcome = Literal["ridden out", "may be told", "refused"]
SHORT_TIMEOUT = 1.5  # of the client, real seconds; the server is silent until the client has gone


@dataclass(frozen=True)
class Kind:
    """`arm` is what `Emulator.fail` is given.

    ridden out: the user sees nothing of it but time. may be told: the wait that the server asks for is longer than a
    verb should last; the user is told, and the worker waits. refused: told at once and not tried again.
    `asked`: the seconds that the server asks to be left alone. `binary`: it makes sense where the answer is no JSON.
    """

    name: str
    arm: dict[str, Any] = field(default_factory=dict)
    outcome: Outcome = "ridden out"
    asked: float = 0.0
    timeout: float = 60.0
    binary: bool = True


def _refusal(code: str) -> dict[str, Any]:
    status, type, message = REFUSALS[code]
    body = {"error": {"message": message.format(model="m"), "type": type, "param": None, "code": code}}
    return {"kind": "status", "status": status, "body": body}


def _status(status: int, **more: Any) -> dict[str, Any]:
    return {"kind": "status", "status": status, **more}


KINDS = {
    kind.name: kind
    for kind in (
        Kind("refused"),  # nobody listens when the request is made; armed at the request before
        Kind("closed before", {"kind": "drop"}),
        Kind("closed after", {"kind": "drop_after_accept"}),
        Kind("reset before", {"kind": "reset"}),
        Kind("reset after", {"kind": "reset_after_accept"}),
        Kind("timeout before", {"kind": "hang", "seconds": 600}, timeout=SHORT_TIMEOUT),
        Kind("timeout after", {"kind": "slow", "seconds": 600}, timeout=SHORT_TIMEOUT),
        Kind("408", _status(408)),
        Kind("409", _status(409)),
        Kind("429 seconds", _status(429, headers={"retry-after": "20"}), asked=20),
        Kind("429 date", _status(429, retry_date=20), asked=20),
        Kind("429 past date", _status(429, retry_date=-3600)),
        Kind("429 long", _status(429, headers={"retry-after": "200"}), asked=200, outcome="may be told"),
        Kind("insufficient_quota", _refusal("insufficient_quota"), outcome="refused"),
        Kind("daily_rate_limit", _refusal("daily_rate_limit_exceeded"), outcome="refused"),
        Kind("500", _status(500)),
        Kind("500 after", _status(500, acts=True)),
        Kind("502 html", {"kind": "html"}),
        Kind("502 html after", {"kind": "html", "acts": True}),
        Kind("503", _status(503, headers={"retry-after": "5"}), asked=5),
        Kind("200 html", {"kind": "html", "status": 200}),
        Kind("redirect", _status(302, headers={"location": "/_emulator/page"})),
        Kind("cut", {"kind": "cut"}),
        Kind("truncated", {"kind": "truncated"}, binary=False),
        Kind("content type", {"kind": "content_type"}),
        Kind("object", {"kind": "shape", "body": {}}, binary=False),
        Kind("list", {"kind": "shape", "body": []}, binary=False),
        Kind("drip", {"kind": "drip", "seconds": 0.1}),
    )
}
