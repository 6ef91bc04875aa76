"""The lines between a backend and its inference child: one JSON object each, a request with `op`, a reply with `reply`.

`backends/local/serving/infer.py` (the parent) and `infer/` (the child) agree on what is here. Both are of one
installation, so that no version of the lines outlives the process.

The first reply of all is `Ready`. Each request ends with `Done` or `Failed`, those of several at once in any order.
While there is work, the child says something at least once a second of it (`Working`), if no single step takes longer.
The child ends when its stdin has ended and all is answered, or its reader has gone.
"""

from __future__ import annotations

from typing import Any

import msgspec

from tuneport.errors import ConfigError

OPTIONS = frozenset({"max_tokens", "temperature", "top_p", "stop", "seed", "tools"})
"""The options of a completion, in OpenAI's words."""


class _Request(msgspec.Struct, tag_field="op", kw_only=True, omit_defaults=True):
    id: str = ""


class LoadAdapter(_Request, tag="load_adapter"):
    name: str
    folder: str


class Complete(_Request, tag="complete"):
    """A `GeneratedAnswer` for each conversation when done; with `stream`, after its `Delta` and `Called`."""

    conversations: list[Any]
    adapter: str | None = None
    stream: bool | None = None
    tools: list[Any] | None = None
    max_tokens: int | float | None = None
    temperature: float | None = None
    top_p: float | None = None
    stop: str | list[str] | None = None
    seed: int | float | None = None


class Score(_Request, tag="score"):
    """`Scores` for each conversation: how likely each choice is as the next message."""

    conversations: list[Any]
    choices: list[str]
    adapter: str | None = None


class Cancel(_Request, tag="cancel"):
    """The request of that id ends as it is. This one has no answer of its own."""

    request: str


class _Reply(msgspec.Struct, tag_field="reply", kw_only=True, omit_defaults=True):
    id: str | None = None


class Ready(_Reply, tag="ready"):
    """The model is loaded."""

    model: str
    device: str


class Working(_Reply, tag="working"):
    """A heartbeat: the child is alive and still working."""


class Delta(_Reply, tag="delta"):
    """New text of the answer to a conversation."""

    index: int
    text: str


class Called(_Reply, tag="called"):
    """The next call of a tool in the answer to a conversation, in OpenAI's shape."""

    index: int
    call: dict[str, Any]


class GeneratedAnswer(_Reply, tag="answer"):
    """The whole answer to a conversation. Times are in seconds since the request arrived."""

    index: int
    text: str
    finish_reason: str
    prompt_tokens: int
    completion_tokens: int
    seconds_to_first_token: float | None = None
    seconds: float | None = None
    tool_calls: list[dict[str, Any]] = []


class Scores(_Reply, tag="scores"):
    """Log-likelihoods in nats, the end of turn included. None is what JSON has for minus infinity."""

    index: int
    log_likelihoods: list[float | None]


class Done(_Reply, tag="done"):
    """All of the request is answered."""


class Failed(_Reply, tag="failed"):
    """The request, or without an `id` the whole process, comes to nothing."""

    code: str
    message: str


Request = LoadAdapter | Complete | Score | Cancel
Reply = Ready | Working | Delta | Called | GeneratedAnswer | Scores | Done | Failed

_encoder = msgspec.json.Encoder()
_requests: msgspec.json.Decoder[Request] = msgspec.json.Decoder(Request)
_replies: msgspec.json.Decoder[Reply] = msgspec.json.Decoder(Reply)


class _Numbered(msgspec.Struct):
    id: str | None = None


def encode_inference_message(message: Request | Reply) -> bytes:
    """Return the message as a line."""
    return _encoder.encode(message) + b"\n"


def decode_inference_request(line: bytes | str) -> Request:
    """Return the request of a line. ConfigError says what is wrong with it."""
    try:
        return _requests.decode(line)
    except (msgspec.DecodeError, RecursionError) as error:
        raise ConfigError(f"the request is malformed: {error}") from error


def parse_inference_request_id(line: bytes | str) -> str | None:
    """Return the id of a request that cannot be read otherwise, or None."""
    try:
        return msgspec.json.decode(line, type=_Numbered).id
    except (msgspec.DecodeError, RecursionError):
        return None


def decode_inference_reply(line: bytes) -> Reply | None:
    """Return the reply of a line, or None: some library printed it."""
    try:
        return _replies.decode(line)
    except (msgspec.DecodeError, RecursionError):
        return None
