"""The internal form of one training example. Every format reads into it and writes from it.

A record is one of six kinds: `Chat`, `Preference`, `Labelled`, `Graded`, `PromptCompletion`, `PlainText`. All hold
what no format knows in `metadata` (of a row) and `extra` (of a message, part, call or tool), so that a conversion can
say what it would lose. A null in a file is the same as an absent key. `msgspec` structs, because a record is made for
every row.
"""

from __future__ import annotations

import re
from typing import Any, Literal

import msgspec

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:")

Role = Literal["system", "developer", "user", "assistant", "tool"]


class TextPart(msgspec.Struct, tag="text", tag_field="type", omit_defaults=True):
    text: str
    extra: dict[str, Any] = {}


class ImagePart(msgspec.Struct, tag="image", tag_field="type", omit_defaults=True):
    """An image by `url` (http, https, a provider's own or a path) or by `data` (base64, without prefix) with its
    `media_type`."""

    url: str | None = None
    data: str | None = None
    media_type: str | None = None
    detail: str | None = None
    extra: dict[str, Any] = {}

    @property
    def is_path(self) -> bool:
        """Return whether it is a file of this machine: a URL has a scheme, and a Windows drive is none."""
        return self.url is not None and _SCHEME.match(self.url) is None


Part = TextPart | ImagePart


class ToolCall(msgspec.Struct, omit_defaults=True):
    """`arguments` is JSON text, kept as written: providers are trained on its exact spelling.

    Without an `id`, calls and their results belong together by order.
    """

    name: str
    arguments: str
    id: str | None = None
    extra: dict[str, Any] = {}


class Tool(msgspec.Struct, omit_defaults=True):
    """A function that the model may call; `parameters` is a JSON schema."""

    name: str
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None
    extra: dict[str, Any] = {}


class Message(msgspec.Struct, omit_defaults=True):
    role: Role
    content: str | list[Part] | None = None
    name: str | None = None
    tool_calls: list[ToolCall] = []
    tool_call_id: str | None = None
    reasoning: str | None = None
    weight: float | None = None
    """Of an assistant message in the loss: None and 1 mean trained on, 0 means context only."""
    extra: dict[str, Any] = {}

    @property
    def text(self) -> str:
        """Return the text of the content, parts joined by newlines, images left out."""
        if self.content is None:
            return ""
        if isinstance(self.content, str):
            return self.content
        return "\n".join(part.text for part in self.content if isinstance(part, TextPart))

    @property
    def has_image(self) -> bool:
        return isinstance(self.content, list) and any(isinstance(part, ImagePart) for part in self.content)


class _Common(msgspec.Struct, omit_defaults=True, kw_only=True):
    tools: list[Tool] = []
    parallel_tool_calls: bool | None = None
    weight: float | None = None
    metadata: dict[str, Any] = {}


class Chat(_Common, tag="chat", tag_field="kind"):
    messages: list[Message]


class Preference(_Common, tag="preference", tag_field="kind"):
    """Two answers to the same context: train towards `chosen`, away from `rejected`."""

    context: list[Message]
    chosen: list[Message]
    rejected: list[Message]


class Labelled(_Common, tag="labelled", tag_field="kind"):
    """A conversation whose last answer is marked good or bad (KTO)."""

    messages: list[Message]
    label: bool


class Graded(_Common, tag="graded", tag_field="kind"):
    """A question that a model answers itself in training (rft); a grader compares its answer with `reference`."""

    messages: list[Message]
    reference: dict[str, Any] = {}


class PromptCompletion(_Common, tag="prompt_completion", tag_field="kind"):
    prompt: str
    completion: str


class PlainText(_Common, tag="text", tag_field="kind"):
    text: str


Record = Chat | Preference | Labelled | Graded | PromptCompletion | PlainText


def record_messages(record: Record) -> list[Message]:
    """Return the messages of a record, of a pair both answers'; a prompt with its completion and a text have none."""
    if isinstance(record, Preference):
        return [*record.context, *record.chosen, *record.rejected]
    return record.messages if isinstance(record, Chat | Labelled | Graded) else []


def record_shows_image(record: Record) -> bool:
    return any(message.has_image for message in record_messages(record))
