"""Messages as chat templates take them: OpenAI's, but the arguments of a call are an object, an image is a part
`{"type": "image", "image": URL or data URL}`, and ids of calls are optional.

Source: TRL's prepare_multimodal_messages and the transformers library's chat templates. Images in a column of their own
fill the parts without one in turn, or stand before the first user's text if there are no such parts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from tuneport.data.formats.contract import RecordProblems, Unrepresentable
from tuneport.data.formats.openai import messages as chat
from tuneport.data.formats.shared.media import base64_picture_kind, picture_column, read_picture
from tuneport.data.formats.shared.tools import drop_generated_call_ids
from tuneport.data.formats.shared.turns import without_developer
from tuneport.data.formats.spelling import raw_row_json_object, raw_row_json_text
from tuneport.data.rows.records import Message, Role

_IMAGE_KEYS = ("image", "url", "base64", "path")


class TrlReader:
    """Reads the messages of one row; `end` tells of images that no message shows."""

    def __init__(self, line: bytes, row: Mapping[str, Any], problems: RecordProblems) -> None:
        self._line, self._row, self._problems = line, row, problems
        self._column = picture_column(row)
        given = row[self._column] if self._column else []
        images = [_picture_url(image) for image in (given if isinstance(given, list) else [given])]
        if not all(images):
            problems.add(self._column, "must be a list of URLs, paths or known pictures", "write each image as text")
            images = []
        self._images: list[str] = images[::-1]
        self._spread = bool(images) and not any(_has_gap(message) for key in row for message in _dicts(row[key]))

    def messages(self, key: str) -> list[Message]:
        values = self._problems.read_items(self._row, key)
        if not values and not self._problems:
            self._problems.add(key, "is empty", "add its messages")
        plain = [self._as_openai(value, key, index) for index, value in enumerate(values)]
        before = len(self._problems)
        messages = chat.read_openai_messages(plain, key, self._problems)
        if key == "messages" and len(self._problems) == before:
            chat.check_openai_tool_results(messages, key, self._problems)
            drop_generated_call_ids(messages, chat.ID_PREFIX)
        return messages

    def side(self, key: str, role: Role) -> list[Message]:
        """Return the messages of a column; a text is one message of that role."""
        if isinstance(self._row.get(key), list):
            return self.messages(key)
        text = self._problems.read_text(self._row, key, "")
        return [] if text is None else [Message(role, text)]

    def end(self) -> None:
        if self._images:
            self._problems.add(self._column, "there are more images than places for them", "add or remove images")

    def _as_openai(self, value: Any, key: str, index: int) -> Any:
        if not isinstance(value, dict):
            return value
        changed: dict[str, Any] = {}
        content = value.get("content")
        if self._spread and value.get("role") == "user" and isinstance(content, str):
            content = [*({"type": "image"} for _ in self._images), {"type": "text", "text": content}]
            self._spread = False
        if isinstance(content, list):
            changed["content"] = [self._part(part, f"{key}[{index}].content[{at}]") for at, part in enumerate(content)]
        calls = value.get("tool_calls")
        if isinstance(calls, list):
            changed["tool_calls"] = [self._call(call, (key, index, "tool_calls", at)) for at, call in enumerate(calls)]
        return {**value, **changed} if changed else value

    def _part(self, part: Any, at: str) -> Any:
        if not isinstance(part, dict) or part.get("type") != "image":
            return part
        rest = {key: value for key, value in part.items() if key not in ("type", *_IMAGE_KEYS)}
        found = next((part[key] for key in _IMAGE_KEYS if part.get(key) is not None), "")
        if not found and self._images:
            found = self._images.pop()
        found = _picture_url(found) if isinstance(found, dict) else found
        if not found or not isinstance(found, str):
            self._problems.add(at, "there is no image for this part, or none as text", "add it as a URL or a data URL")
            return {"type": "text", "text": ""}
        if found == part.get("base64"):
            kind = base64_picture_kind(found)
            if kind is None:
                self._problems.add(at, "the base64 is not a known kind of image", "write it as a data URL under image")
            found = f"data:image/{kind};base64,{found}"
        return {"type": "image_url", "image_url": {"url": found}, **rest}

    def _call(self, call: Any, path: tuple[str | int, ...]) -> Any:
        function = call.get("function") if isinstance(call, dict) else None
        if not isinstance(function, dict) or not isinstance(function.get("arguments"), dict):
            return call
        return {
            **call,
            "function": {**function, "arguments": raw_row_json_text(self._line, *path, "function", "arguments")},
        }


def _picture_url(value: Any) -> str:
    """Return a picture that a text or a struct gives, as a URL, a path or a data URL; "" if it gives none."""
    picture = read_picture(value)
    if picture is None:
        return ""
    return picture.url if picture.url is not None else f"data:{picture.media_type};base64,{picture.data}"


def _dicts(value: Any) -> list[dict[str, Any]]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def _has_gap(message: Mapping[str, Any]) -> bool:
    parts = _dicts(message.get("content"))
    return any(part.get("type") == "image" and not any(key in part for key in _IMAGE_KEYS) for part in parts)


def write_trl_messages(
    messages: Sequence[Message], lost: list[Unrepresentable], *, weighted: bool = False
) -> list[dict[str, Any]]:
    """Write the messages. `weighted`: the position of the messages gives their weights."""
    rows = []
    for message in without_developer(messages, lost):
        if message.weight is not None:
            if not weighted:
                lost.append(
                    Unrepresentable(
                        "messages[].weight", "there are no weights of messages, save as prompt and completion"
                    )
                )
            message = msgspec.structs.replace(message, weight=None)
        row = chat.write_openai_message(message, lost)
        if isinstance(row.get("content"), list):
            row["content"] = [_write_part(part, lost) for part in row["content"]]
        for call in row.get("tool_calls", ()):
            _write_call(call, lost)
        rows.append(row)
    return rows


def _write_part(part: dict[str, Any], lost: list[Unrepresentable]) -> dict[str, Any]:
    if part["type"] != "image_url":
        return part
    image = part["image_url"]
    if "detail" in image:
        lost.append(Unrepresentable("messages[].content[].detail", "an image has no detail setting"))
    rest = {key: value for key, value in part.items() if key not in ("type", "image_url")}
    written = {"type": "image", "image": image["url"]}
    lost += [
        Unrepresentable(f"messages[].content[].{key}", "the key means the image itself here")
        for key in rest
        if key in _IMAGE_KEYS
    ]
    return {**rest, **written}


def _write_call(call: dict[str, Any], lost: list[Unrepresentable]) -> None:
    if call["id"] is None:
        del call["id"]
    function = call["function"]
    arguments = raw_row_json_object(function["arguments"], "messages[].tool_calls[].arguments", lost)
    if arguments is not None:
        function["arguments"] = arguments
