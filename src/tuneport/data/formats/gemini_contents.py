"""Gemini's contents and parts, read and written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import msgspec

from tuneport.data.formats.contract import Lost, Problems, kind_of, put_rest, rest_of
from tuneport.data.formats.sharegpt_turns import is_json_object
from tuneport.data.formats.spelling import spelled_object, spelling
from tuneport.data.formats.turns import without_developer
from tuneport.data.records import ImagePart, Message, Part, TextPart, ToolCall

_KINDS = {
    "text": "text",
    "inlineData": "inlineData",
    "inline_data": "inlineData",
    "fileData": "fileData",
    "file_data": "fileData",
    "functionCall": "functionCall",
    "function_call": "functionCall",
    "functionResponse": "functionResponse",
    "function_response": "functionResponse",
}
_MEDIA_TYPES = {"png": "image/png", "jpg": "image/jpeg", "jpeg": "image/jpeg", "webp": "image/webp", "gif": "image/gif"}
_CONTENT = ("role", "parts")
_RESERVED_PART = frozenset((*_KINDS, "thought"))

Path = tuple[str | int, ...]


def names_of_calls(messages: Sequence[Message], *, read: bool = False) -> dict[int, str]:
    """The name of the function that each result answers, by the place of the result: by id, else in order.

    With `read`, also take the name from the results, in place, where it is just that.
    """
    names: dict[int, str] = {}
    by_id: dict[str, str] = {}
    waiting: list[ToolCall] = []
    for place, message in enumerate(messages):
        if message.tool_calls:
            waiting = list(message.tool_calls)
            by_id |= {call.id: call.name for call in waiting if call.id is not None}
        elif message.role == "tool":
            in_order = waiting.pop(0).name if waiting else None
            name = by_id.get(message.tool_call_id, in_order) if message.tool_call_id is not None else in_order
            if name is not None:
                names[place] = name
                if read and message.name == name:
                    message.name = None
    return names


class ContentReader:
    def __init__(self, line: bytes, problems: Problems) -> None:
        self._line, self._problems = line, problems

    def system(self, value: Any, at: str) -> Message:
        if isinstance(value, str):
            return Message("system", value)
        if not isinstance(value, dict):
            self._problems.note(at, f"must be a content, not {kind_of(value)}", 'write {"parts": [{"text": ...}]}')
            return Message("system", "")
        parts = [self._part(part, (at, "parts", i)) for i, part in enumerate(self._parts(value, at))]
        message = Message("system", _flat([part for part in parts if part is not None]))
        message.extra = rest_of(value, _CONTENT)
        if value.get("role") not in (None, "system"):
            message.extra["role"] = value["role"]
        return message

    def content(self, value: Any, path: Path) -> list[Message]:
        """One message, or more where results stand together or parts go back: text after a call, a second thought."""
        at = _name(path)
        if not isinstance(value, dict):
            self._problems.note(at, f"must be an object, not {kind_of(value)}", 'write {"role": ..., "parts": [...]}')
            return []
        role = value.get("role", "user")
        if role not in ("user", "model", "function", "tool"):
            self._problems.note(f"{at}.role", f"{role!r} is not a role", "use user or model")
            return []
        own: Literal["user", "assistant"] = "assistant" if role == "model" else "user"
        messages: list[Message] = []
        for index, part in enumerate(self._parts(value, at)):
            self._add(messages, own, part, (*path, "parts", index))
        for message in messages:
            if message.role != "tool":
                message.content = _flat(message.content) if isinstance(message.content, list) else message.content
        if messages:
            messages[0].extra = {**rest_of(value, _CONTENT), **messages[0].extra}
        return messages

    def _parts(self, value: Mapping[str, Any], at: str) -> list[Any]:
        parts = self._problems.items(value, "parts", at)
        if not parts and not self._problems:
            self._problems.note(f"{at}.parts", "is empty" if "parts" in value else "is missing", "give a part")
        return parts

    def _add(self, messages: list[Message], role: Literal["user", "assistant"], part: Any, path: Path) -> None:
        kinds = [key for key in part if key in _KINDS] if isinstance(part, dict) else []
        last = messages[-1] if messages and messages[-1].role == role else None
        kind = _KINDS[kinds[0]] if len(kinds) == 1 else None
        if kind == "functionResponse" and role == "user":
            messages.append(self._result(part, kinds[0], path))
        elif kind == "functionCall" and role == "assistant":
            if last is None:
                messages.append(last := Message(role))
            last.tool_calls = [*last.tool_calls, self._call(part, kinds[0], path)]
        elif kind == "text" and role == "assistant" and part.get("thought") is True:
            message = Message(role, reasoning=self._problems.text(part, "text", _name(path)))
            message.extra = {f"thought_{key}": value for key, value in rest_of(part, ("text", "thought")).items()}
            messages.append(message)
        else:
            read = self._part(part, path)
            if read is None:
                return
            if last is None or last.tool_calls:
                messages.append(last := Message(role))
            last.content = [*(last.content or []), read]

    def _part(self, part: Any, path: Path) -> Part | None:
        at = _name(path)
        kinds = [key for key in part if key in _KINDS] if isinstance(part, dict) else []
        if len(kinds) != 1 or _KINDS[kinds[0]] not in ("text", "inlineData", "fileData"):
            rule = f"a part with {' and '.join(kinds)} is not supported here" if kinds else "is not a part"
            fix = "use text, inlineData, fileData, of the model functionCall, and to it functionResponse"
            self._problems.note(at, rule, fix)
            return None
        key = kinds[0]
        extra = rest_of(part, (key,))
        if key == "text":
            text = self._problems.text(part, key, at)
            return None if text is None else TextPart(text, extra)
        value, field = part[key], f"{at}.{key}"
        if not isinstance(value, dict):
            self._problems.note(field, f"must be an object, not {kind_of(value)}", "give its mimeType and data")
            return None
        kind = value.get("mimeType", value.get("mime_type"))
        names = ("data",) if _KINDS[key] == "inlineData" else ("fileUri", "file_uri")
        found = next((value[name] for name in names if isinstance(value.get(name), str)), None)
        unknown = rest_of(value, ("mimeType", "mime_type", *names))
        if found is None or unknown or not (kind is None or isinstance(kind, str)):
            self._problems.note(field, f"must be a mimeType and {names[0]}", "correct its keys")
            return None
        if _KINDS[key] == "inlineData":
            return ImagePart(data=found, media_type=kind, extra=extra)
        return ImagePart(url=found, media_type=None if kind == _media_type(found) else kind, extra=extra)

    def _call(self, part: Mapping[str, Any], key: str, path: Path) -> ToolCall:
        at, value = f"{_name(path)}.{key}", part[key]
        if not isinstance(value, dict):
            self._problems.note(at, f"must be an object, not {kind_of(value)}", 'write {"name": ..., "args": {...}}')
            return ToolCall("", "{}")
        arguments = value.get("args")
        if arguments is not None and not isinstance(arguments, dict):
            self._problems.note(f"{at}.args", f"must be an object, not {kind_of(arguments)}", "write {...}")
        call = ToolCall(self._problems.text(value, "name", at) or "", "{}")
        if isinstance(arguments, dict):
            call.arguments = spelling(self._line, *path, key, "args")
        call.id = self._problems.text(value, "id", at, required=False)
        call.extra = {**rest_of(value, ("name", "args", "id")), **rest_of(part, (key,))}
        return call

    def _result(self, part: Mapping[str, Any], key: str, path: Path) -> Message:
        at, value = f"{_name(path)}.{key}", part[key]
        message = Message("tool", "", extra=rest_of(part, (key,)))
        if not isinstance(value, dict) or not isinstance(value.get("response"), dict):
            fix = 'write {"name": ..., "response": {...}}'
            self._problems.note(at, "must be an object with a name and a response, itself an object", fix)
            return message
        message.name = self._problems.text(value, "name", at)
        message.tool_call_id = self._problems.text(value, "id", at, required=False)
        unknown = rest_of(value, ("name", "response", "id"))
        if unknown:
            self._problems.note(f"{at}.{next(iter(unknown))}", "is no key of a response", "remove it")
        response = value["response"]
        if _is_output(response):
            message.content = response["output"]
        else:
            message.content = spelling(self._line, *path, key, "response")
        return message


def _is_output(response: Any) -> bool:
    """Whether it only wraps a text, as results that are no objects are given to the Gemini API."""
    return isinstance(response, dict) and len(response) == 1 and isinstance(response.get("output"), str)


def _name(path: Path) -> str:
    return "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in path).removeprefix(".")


def _flat(parts: list[Part]) -> str | list[Part]:
    if len(parts) == 1 and isinstance(parts[0], TextPart) and not parts[0].extra:
        return parts[0].text
    return parts


def _media_type(url: str) -> str | None:
    return _MEDIA_TYPES.get(url.rpartition(".")[2].lower())


class ContentWriter:
    def __init__(self, lost: list[Lost]) -> None:
        self._lost = lost

    def prepared(self, messages: Sequence[Message]) -> list[Message]:
        """No developers, and no system prompt but the first."""
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
        put_rest(row, message.extra, ("parts",), "messages[].", self._lost)
        return row

    def contents(self, messages: Sequence[Message]) -> list[dict[str, Any]]:
        names = names_of_calls(messages)
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
        self._lost.append(Lost(field, reason))

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
        put_rest(row, extra, _CONTENT, "messages[].", self._lost)
        return row

    def _parts(self, content: str | list[Part] | None) -> list[dict[str, Any]]:
        if isinstance(content, str):
            return [{"text": content}]
        if not content:
            self._lose("messages[].content", "there must be a part; an absent content becomes an empty text")
            return [{"text": ""}]
        if _flat(content) is not content:
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
            kind = part.media_type or _media_type(url)
            row = {"fileData": {"mimeType": kind, "fileUri": url}}
            if kind is None:
                self._lose("messages[].content[].image", "a file needs a mimeType, which its name does not tell")
            elif part.media_type is not None and kind == _media_type(url):
                self._lose("messages[].content[].image", "a mimeType that the name tells is not kept")
        if isinstance(part, ImagePart) and part.detail is not None:
            self._lose("messages[].content[].detail", "an image has no detail setting")
        put_rest(row, part.extra, _RESERVED_PART, "messages[].content[].", self._lost)
        return row

    def _call(self, call: ToolCall) -> dict[str, Any]:
        field = "messages[].tool_calls[].arguments"
        arguments = spelled_object(call.arguments, field, self._lost)
        if arguments is None:
            arguments = {"arguments": call.arguments}
            self._lose(field, "the args must be an object; other text is put into one")
        value: dict[str, Any] = {"name": call.name, "args": arguments}
        if call.id is not None:
            value["id"] = call.id
        row: dict[str, Any] = {"functionCall": value}
        put_rest(row, call.extra, (*_RESERVED_PART, "name", "args", "id"), "messages[].tool_calls[].", self._lost)
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
        one_line = is_json_object(text) and "\n" not in text and "\r" not in text
        if one_line and not _is_output(msgspec.json.decode(text)):
            response = msgspec.Raw(text.encode())
        value: dict[str, Any] = {"name": name or "unknown", "response": response}
        if message.tool_call_id is not None:
            value["id"] = message.tool_call_id
        row: dict[str, Any] = {"functionResponse": value}
        put_rest(row, message.extra, _RESERVED_PART, "messages[].", self._lost)
        return row
