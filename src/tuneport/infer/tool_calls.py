"""Calls of tools in what a model writes: `<tool_call>{"name": ..., "arguments": {...}}</tool_call>` among its text."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator
from typing import Any

from tuneport.validation import decode_json

Call = dict[str, Any]
"""A tool call in OpenAI's shape."""
_BEGIN, _END = "<tool_call>", "</tool_call>"


class ToolCallStreamParser:
    """Tells text from calls while an answer grows. `text` and `calls`, in OpenAI's shape, are all that was found.

    A call that is no JSON object with a name stays in the text, and so does one without its end. White space around
    calls means nothing.
    """

    def __init__(self) -> None:
        self.text = ""
        self.calls: list[Call] = []
        self._unread = ""
        self._blank = ""  # white space that is text only if more text follows, or there are no calls

    def parse_delta(self, piece: str) -> Iterator[str | Call]:
        """Yield what is certain now: text, or a call."""
        self._unread += piece
        while True:
            begin = self._unread.find(_BEGIN)
            if begin < 0:
                certain = len(self._unread) - _beginnings(self._unread)
                yield from self._say(self._unread[:certain])
                self._unread = self._unread[certain:]
                return
            yield from self._say(self._unread[:begin])
            self._unread = self._unread[begin:]
            end = self._unread.find(_END)
            if end < 0:
                return
            written = self._unread[: end + len(_END)]
            self._unread = self._unread[len(written) :]
            call = _call(written[len(_BEGIN) : -len(_END)])
            if call is None:
                yield from self._say(written)
            else:
                self.calls.append(call)
                yield call

    def finish(self) -> Iterator[str | Call]:
        """Yield the rest when the answer is complete."""
        yield from self._say(self._unread)
        self._unread = ""
        if self._blank and not self.calls:
            self.text += self._blank
            yield self._blank
        self._blank = ""

    def _say(self, text: str) -> Iterator[str]:
        text = self._blank + text
        self._blank = text[len(text.rstrip()) :]
        said = text[: len(text) - len(self._blank)]
        if said:
            self.text += said
            yield said


def split_tool_calls(text: str) -> tuple[str, list[Call]]:
    """Return an answer's text and its calls."""
    reader = ToolCallStreamParser()
    for _ in (*reader.parse_delta(text), *reader.finish()):
        pass
    return reader.text, reader.calls


def _beginnings(text: str) -> int:
    """Return how many characters at the end may be the beginning of a call."""
    return next((size for size in range(len(_BEGIN) - 1, 0, -1) if text.endswith(_BEGIN[:size])), 0)


def _call(written: str) -> Call | None:
    try:
        call = decode_json(written)
    except ValueError:
        return None
    if not isinstance(call, dict) or not isinstance(call.get("name"), str):
        return None
    arguments = call.get("arguments", {})
    function = {
        "name": call["name"],
        "arguments": arguments if isinstance(arguments, str) else json.dumps(arguments, ensure_ascii=False),
    }
    return {"id": f"call_{secrets.token_hex(12)}", "type": "function", "function": function}
