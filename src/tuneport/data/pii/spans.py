"""The texts of a record, and their places."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, NamedTuple

import msgspec

from tuneport.data.rows.records import Graded, Message, PlainText, Preference, PromptCompletion, Record, TextPart

SEPARATOR = "\n\x1e"  # between two places: no value goes across it, and a word beside it is still context
_encode = msgspec.json.Encoder().encode


class TextSpan(NamedTuple):
    """A field of a struct. `json`: its text is JSON (tool arguments), or it is JSON once written (schemas, extras)."""

    owner: Any
    field: str
    json: bool = False

    @property
    def text(self) -> str:
        value = getattr(self.owner, self.field)
        return value if isinstance(value, str) else _encode(value).decode()

    def write(self, text: str) -> None:
        """Put the text in the place of this one."""
        value = getattr(self.owner, self.field)
        setattr(self.owner, self.field, text if isinstance(value, str) else msgspec.json.decode(text))


def record_text_spans(record: Record) -> Iterator[TextSpan]:
    """Yield all that a model sees or a file carries along, in order: the content of messages, names, reasoning, tool
    arguments, descriptions and schemas, prompts, completions, plain text, what a grader compares with, and the columns
    that no format knows.

    Not the names and ids of tools, which hold calls together, and not images: their data is not text, and a changed
    address would be another image.
    """
    if isinstance(record, PromptCompletion):
        yield TextSpan(record, "prompt")
        yield TextSpan(record, "completion")
    elif isinstance(record, PlainText):
        yield TextSpan(record, "text")
    elif isinstance(record, Preference):
        for messages in (record.context, record.chosen, record.rejected):
            for message in messages:
                yield from _of_message(message)
    else:
        for message in record.messages:
            yield from _of_message(message)
    if isinstance(record, Graded) and record.reference:
        yield TextSpan(record, "reference", True)
    for tool in record.tools:
        if tool.description:
            yield TextSpan(tool, "description")
        if tool.parameters:
            yield TextSpan(tool, "parameters", True)
        if tool.extra:
            yield TextSpan(tool, "extra", True)
    if record.metadata:
        yield TextSpan(record, "metadata", True)


def _of_message(message: Message) -> Iterator[TextSpan]:
    if message.name:
        yield TextSpan(message, "name")
    if message.reasoning:
        yield TextSpan(message, "reasoning")
    if isinstance(message.content, str):
        yield TextSpan(message, "content")
    elif message.content:
        for part in message.content:
            if isinstance(part, TextPart):
                yield TextSpan(part, "text")
            if part.extra:
                yield TextSpan(part, "extra", True)
    for call in message.tool_calls:
        yield TextSpan(call, "arguments", True)
        if call.extra:
            yield TextSpan(call, "extra", True)
    if message.extra:
        yield TextSpan(message, "extra", True)


def join_span_texts(record: Record) -> str:
    """Return the text of all spans as it reads, in order, with `SEPARATOR` between them."""
    return SEPARATOR.join([_as_read(place.text) if place.json else place.text for place in record_text_spans(record)])


ESCAPED_CHARACTER = re.compile(r"\\(?:u([0-9a-fA-F]{4})|/)")  # a slash as PHP writes it
_ESCAPE = re.compile(r"\\(?:u[0-9a-fA-F]{4}|.)", re.DOTALL)


def _as_read(text: str) -> str:
    if "\\" in text:
        text = ESCAPED_CHARACTER.sub(lambda found: chr(int(found[1], 16)) if found[1] else "/", text)
    return blank_json_escapes(text)


def blank_json_escapes(text: str) -> str:
    """Return JSON of the same length with blanks for its escapes, so that no letter of one (`\\n`) seems to be part of
    a word."""
    if "\\" not in text:
        return text
    return _ESCAPE.sub(lambda found: ("\n" if found[0] == r"\n" else " ").rjust(len(found[0])), text)
