"""Emulators whose answers carry a text of ours in every place where a provider writes words of its own."""

from __future__ import annotations

import json
import random
from typing import Any
from urllib.parse import quote, unquote

from tuneport.testing.emulators.openai.emulator import OpenAIEmulator
from tuneport.testing.emulators.together.emulator import TogetherEmulator
from tuneport.testing.emulators.wire import EmulatedRequest, EmulatedResponse

OBEYED = (
    "\x1b[2J\x1b[H", "\x1b]0;title\x07", "\x1b]8;;http://evil.example\x1b\\", "\x1b[8m",
    "\x1bc", "\x9b2J", "\x9d0;t\x9c",
    "\x90q\x9c", "\x07", "\x08\x08", "\x7f", "\r", "\x0b", "\x0c", "\x0e", "\x85", "\u2028", "\u2029",
    *map(chr, (*range(0x202A, 0x202F), *range(0x2066, 0x206A), *range(0x200B, 0x2010), 0x2060, 0xFEFF, 0x00AD)),
)  # fmt: skip
"""What a terminal takes for a command, or shows otherwise than it stands there."""
MARKUP = "[bold]b[/bold] [link=http://evil.example]l[/link] [red]r"
"""What rich takes for a command. The last tag is left open; one that is only closed would be an error."""


def hostile(seed: int) -> str:
    """Some of `OBEYED`, in an order of the seed's, and the markup."""
    chosen = random.Random(seed).sample(OBEYED, 9)
    return "<" + "x".join(chosen) + MARKUP + ">"


def harmless(text: str) -> str:
    """The same text with a letter in place of each character that is obeyed."""
    marks = {mark for each in OBEYED for mark in each if not " " <= mark <= "~"}
    return "".join("z" if mark in marks else mark for mark in text).replace("[", "(").replace("]", ")")


class _Writes:
    """Appends `text` to the words of `fields` in each answer, and takes it off what comes back."""

    text = ""
    fields: frozenset[str] = frozenset()

    def _dispatch(self, request: EmulatedRequest) -> EmulatedResponse | None:
        path = unquote(request.path).replace(self.text, "") if self.text else request.path
        object.__setattr__(request, "path", quote(path, safe="/:_-.~"))
        if self.text and b"{" in request.body[:1]:
            object.__setattr__(request, "body", request.body.replace(json.dumps(self.text)[1:-1].encode(), b""))
        response: EmulatedResponse | None = super()._dispatch(request)  # type: ignore[misc]
        if response is not None and isinstance(response.body, bytes) and response.body[:1] in b"{[":
            try:
                answer = json.loads(response.body)
            except ValueError:
                return response
            response.body = json.dumps(self._written(answer)).encode()
        return response

    def _written(self, value: Any, name: str = "") -> Any:
        if isinstance(value, dict):
            return {key: self._written(each, key) for key, each in value.items()}
        if isinstance(value, list):
            return [self._written(each, name) for each in value]
        return f"{value}{self.text}" if isinstance(value, str) and value and name in self.fields else value


class HostileOpenAI(_Writes, OpenAIEmulator):
    pass


class HostileTogether(_Writes, TogetherEmulator):
    pass
