"""Gemini's contents and parts, read."""

from __future__ import annotations

import mimetypes
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from tuneport.data.formats.contract import RecordProblems, pick_unknown_row_keys, row_value_json_type
from tuneport.data.formats.shared.media import add_unheard_part
from tuneport.data.formats.spelling import raw_row_json_text
from tuneport.data.rows.records import ImagePart, Message, Part, TextPart, ToolCall

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
CONTENT_KEYS = ("role", "parts")
RESERVED_PART = frozenset((*_KINDS, "thought"))

Path = tuple[str | int, ...]


def gemini_called_functions(messages: Sequence[Message], *, read: bool = False) -> dict[int, str]:
    """Return the name of the function that each result answers, by the index of the result: by id, else in order.

    With `read`, also takes the name from the results, in place, if it is just that.
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


class GeminiContentReader:
    def __init__(self, line: bytes, problems: RecordProblems) -> None:
        self._line, self._problems = line, problems

    def system(self, value: Any, at: str) -> Message:
        if isinstance(value, str):
            return Message("system", value)
        if not isinstance(value, dict):
            self._problems.add(
                at, f"must be a content, not {row_value_json_type(value)}", 'write {"parts": [{"text": ...}]}'
            )
            return Message("system", "")
        parts = [self._part(part, (at, "parts", i)) for i, part in enumerate(self._parts(value, at))]
        message = Message("system", unwrap_single_text([part for part in parts if part is not None]))
        message.extra = pick_unknown_row_keys(value, CONTENT_KEYS)
        if value.get("role") not in (None, "system"):
            message.extra["role"] = value["role"]
        return message

    def content(self, value: Any, path: Path) -> list[Message]:
        """Return one message, or more if results stand together or parts go back: text after a call, a second
        thought."""
        at = _name(path)
        if not isinstance(value, dict):
            self._problems.add(
                at, f"must be an object, not {row_value_json_type(value)}", 'write {"role": ..., "parts": [...]}'
            )
            return []
        role = value.get("role", "user")
        if role not in ("user", "model", "function", "tool"):
            self._problems.add(f"{at}.role", f"{role!r} is not a role", "use user or model")
            return []
        own: Literal["user", "assistant"] = "assistant" if role == "model" else "user"
        messages: list[Message] = []
        for index, part in enumerate(self._parts(value, at)):
            self._add(messages, own, part, (*path, "parts", index))
        for message in messages:
            if message.role != "tool":
                message.content = (
                    unwrap_single_text(message.content) if isinstance(message.content, list) else message.content
                )
        if messages:
            messages[0].extra = {**pick_unknown_row_keys(value, CONTENT_KEYS), **messages[0].extra}
        return messages

    def _parts(self, value: Mapping[str, Any], at: str) -> list[Any]:
        parts = self._problems.read_items(value, "parts", at)
        if not parts and not self._problems:
            self._problems.add(f"{at}.parts", "is empty" if "parts" in value else "is missing", "give a part")
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
            message = Message(role, reasoning=self._problems.read_text(part, "text", _name(path)))
            message.extra = {
                f"thought_{key}": value for key, value in pick_unknown_row_keys(part, ("text", "thought")).items()
            }
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
            self._problems.add(at, rule, fix)
            return None
        key = kinds[0]
        extra = pick_unknown_row_keys(part, (key,))
        if key == "text":
            text = self._problems.read_text(part, key, at)
            return None if text is None else TextPart(text, extra)
        value, field = part[key], f"{at}.{key}"
        if not isinstance(value, dict):
            self._problems.add(
                field, f"must be an object, not {row_value_json_type(value)}", "give its mimeType and data"
            )
            return None
        kind = value.get("mimeType", value.get("mime_type"))
        names = ("data",) if _KINDS[key] == "inlineData" else ("fileUri", "file_uri")
        found = next((value[name] for name in names if isinstance(value.get(name), str)), None)
        unknown = pick_unknown_row_keys(value, ("mimeType", "mime_type", *names))
        if found is None or unknown or not (kind is None or isinstance(kind, str)):
            self._problems.add(field, f"must be a mimeType and {names[0]}", "correct its keys")
            return None
        told = kind
        if not told and _KINDS[key] == "fileData":  # by its last part: from Python 3.13 on, gs://a.mp4 is a host alone
            told = mimetypes.guess_type(found.rpartition("/")[2])[0]
        if add_unheard_part(told, field, self._problems):
            return None
        if _KINDS[key] == "inlineData":
            return ImagePart(data=found, media_type=kind, extra=extra)
        return ImagePart(url=found, media_type=None if kind == gemini_media_type(found) else kind, extra=extra)

    def _call(self, part: Mapping[str, Any], key: str, path: Path) -> ToolCall:
        at, value = f"{_name(path)}.{key}", part[key]
        if not isinstance(value, dict):
            self._problems.add(
                at, f"must be an object, not {row_value_json_type(value)}", 'write {"name": ..., "args": {...}}'
            )
            return ToolCall("", "{}")
        arguments = value.get("args")
        if arguments is not None and not isinstance(arguments, dict):
            self._problems.add(f"{at}.args", f"must be an object, not {row_value_json_type(arguments)}", "write {...}")
        call = ToolCall(self._problems.read_text(value, "name", at) or "", "{}")
        if isinstance(arguments, dict):
            call.arguments = raw_row_json_text(self._line, *path, key, "args")
        call.id = self._problems.read_text(value, "id", at, required=False)
        call.extra = {**pick_unknown_row_keys(value, ("name", "args", "id")), **pick_unknown_row_keys(part, (key,))}
        return call

    def _result(self, part: Mapping[str, Any], key: str, path: Path) -> Message:
        at, value = f"{_name(path)}.{key}", part[key]
        message = Message("tool", "", extra=pick_unknown_row_keys(part, (key,)))
        if not isinstance(value, dict) or not isinstance(value.get("response"), dict):
            fix = 'write {"name": ..., "response": {...}}'
            self._problems.add(at, "must be an object with a name and a response, itself an object", fix)
            return message
        message.name = self._problems.read_text(value, "name", at)
        message.tool_call_id = self._problems.read_text(value, "id", at, required=False)
        unknown = pick_unknown_row_keys(value, ("name", "response", "id"))
        if unknown:
            self._problems.add(f"{at}.{next(iter(unknown))}", "is not a key of a response", "remove it")
        response = value["response"]
        if is_gemini_output_wrapper(response):
            message.content = response["output"]
        else:
            message.content = raw_row_json_text(self._line, *path, key, "response")
        return message


def is_gemini_output_wrapper(response: Any) -> bool:
    """Return whether it only wraps a text, as the Gemini API takes results that are not objects."""
    return isinstance(response, dict) and len(response) == 1 and isinstance(response.get("output"), str)


def _name(path: Path) -> str:
    return "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in path).removeprefix(".")


def unwrap_single_text(parts: list[Part]) -> str | list[Part]:
    if len(parts) == 1 and isinstance(parts[0], TextPart) and not parts[0].extra:
        return parts[0].text
    return parts


def gemini_media_type(url: str) -> str | None:
    return _MEDIA_TYPES.get(url.rpartition(".")[2].lower())
