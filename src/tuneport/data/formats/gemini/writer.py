"""Gemini's contents and parts, written."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from tuneport.data.formats.contract import Unrepresentable, restore_unknown_row_keys
from tuneport.data.formats.gemini.contents import (
    CONTENT_KEYS,
    RESERVED_PART,
    gemini_called_functions,
    gemini_media_type,
    is_gemini_output_wrapper,
    unwrap_single_text,
)
from tuneport.data.formats.shared.turns import without_developer
from tuneport.data.formats.sharegpt.turns import is_sharegpt_json_object
from tuneport.data.formats.spelling import raw_row_json_object
from tuneport.data.rows.records import ImagePart, Message, Part, TextPart, ToolCall


class GeminiContentWriter:
    def __init__(self, lost: list[Unrepresentable]) -> None:
        self._lost = lost

    def prepared(self, messages: Sequence[Message]) -> list[Message]:
        """Return the messages without developers, and without system prompts but the first."""
        prepared = without_developer(messages, self._lost)
        for place, message in enumerate(prepared):
            if place and message.role == "system":
                self._lose("messages[].role", "one system prompt stands before the contents; another is a user's text")
                prepared[place] = msgspec.structs.replace(message, role="user")
        return prepared

    def system(self, message: Message) -> dict[str, Any]:
        self._lose_rest(message)
        if message.name is not None:
            self._lose("messages[].name", "there are no names")
        row: dict[str, Any] = {"parts": self._parts(message.content)}
        restore_unknown_row_keys(row, message.extra, ("parts",), "messages[].", self._lost)
        return row

    def contents(self, messages: Sequence[Message]) -> list[dict[str, Any]]:
        names = gemini_called_functions(messages)
        rows: list[dict[str, Any]] = []
        previous = ""
        for place, message in enumerate(messages):
            self._lose_rest(message)
            if message.role == "tool":
                part = self._result(message, names.get(place))
                if previous == "tool":
                    rows[-1]["parts"].append(part)
                else:
                    rows.append({"role": "user", "parts": [part]})
            else:
                rows.append(self._content(message))
            previous = message.role
        return rows

    def _lose(self, field: str, reason: str) -> None:
        self._lost.append(Unrepresentable(field, reason))

    def _lose_rest(self, message: Message) -> None:
        if message.weight is not None:
            self._lose("messages[].weight", "there are no weights of messages")
        if message.reasoning is not None and message.role != "assistant":
            self._lose("messages[].reasoning", "only the model thinks")

    def _content(self, message: Message) -> dict[str, Any]:
        if message.name is not None:
            self._lose("messages[].name", "there are no names")
        extra = dict(message.extra)
        parts: list[dict[str, Any]] = []
        if message.role == "assistant" and message.reasoning is not None:
            thought = {"text": message.reasoning, "thought": True}
            for key in [key for key in extra if key.startswith("thought_")]:
                thought[key.removeprefix("thought_")] = extra.pop(key)
            parts.append(thought)
        if message.content is not None or not (parts or message.tool_calls):
            parts += self._parts(message.content)
        parts += [self._call(call) for call in message.tool_calls]
        row: dict[str, Any] = {"role": "model" if message.role == "assistant" else "user", "parts": parts}
        restore_unknown_row_keys(row, extra, CONTENT_KEYS, "messages[].", self._lost)
        return row

    def _parts(self, content: str | list[Part] | None) -> list[dict[str, Any]]:
        if isinstance(content, str):
            return [{"text": content}]
        if not content:
            self._lose("messages[].content", "there must be a part; an absent content becomes an empty text")
            return [{"text": ""}]
        if unwrap_single_text(content) is not content:
            self._lose("messages[].content", "a single text part becomes the text itself")
        return [self._part(part) for part in content]

    def _part(self, part: Part) -> dict[str, Any]:
        row: dict[str, Any]
        if isinstance(part, TextPart):
            row = {"text": part.text}
        elif part.data is not None:
            row = {"inlineData": {"mimeType": part.media_type, "data": part.data}}
        else:
            url = part.url or ""
            kind = part.media_type or gemini_media_type(url)
            row = {"fileData": {"mimeType": kind, "fileUri": url}}
            if kind is None:
                self._lose("messages[].content[].image", "a file needs a mimeType, which its name does not tell")
            elif part.media_type is not None and kind == gemini_media_type(url):
                self._lose("messages[].content[].image", "a mimeType that the name tells is not kept")
        if isinstance(part, ImagePart) and part.detail is not None:
            self._lose("messages[].content[].detail", "an image has no detail setting")
        restore_unknown_row_keys(row, part.extra, RESERVED_PART, "messages[].content[].", self._lost)
        return row

    def _call(self, call: ToolCall) -> dict[str, Any]:
        field = "messages[].tool_calls[].arguments"
        arguments = raw_row_json_object(call.arguments, field, self._lost)
        if arguments is None:
            arguments = {"arguments": call.arguments}
            self._lose(field, "the args must be an object; other text is put into one")
        value: dict[str, Any] = {"name": call.name, "args": arguments}
        if call.id is not None:
            value["id"] = call.id
        row: dict[str, Any] = {"functionCall": value}
        restore_unknown_row_keys(
            row, call.extra, (*RESERVED_PART, "name", "args", "id"), "messages[].tool_calls[].", self._lost
        )
        return row

    def _result(self, message: Message, called: str | None) -> dict[str, Any]:
        name = message.name or called
        if name is None:
            self._lose("messages[].tool_call_id", "a result belongs to no call; the name of its function is invented")
        elif message.name is not None and message.name == called:
            self._lose("messages[].name", "a result is named by its call")
        text = message.content
        if isinstance(text, list):
            self._lose("messages[].content", "a response is text or an object; parts are joined by newlines")
            if message.has_image:
                self._lose("messages[].content[].image", "a response has no images")
        elif text is None:
            self._lose("messages[].content", "an absent content becomes an empty text")
        text = message.text
        response: Any = {"output": text}
        one_line = is_sharegpt_json_object(text) and "\n" not in text and "\r" not in text
        if one_line and not is_gemini_output_wrapper(msgspec.json.decode(text)):
            response = msgspec.Raw(text.encode())
        value: dict[str, Any] = {"name": name or "unknown", "response": response}
        if message.tool_call_id is not None:
            value["id"] = message.tool_call_id
        row: dict[str, Any] = {"functionResponse": value}
        restore_unknown_row_keys(row, message.extra, RESERVED_PART, "messages[].", self._lost)
        return row
