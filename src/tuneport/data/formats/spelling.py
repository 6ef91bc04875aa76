"""Call arguments that stand in a row as JSON objects, kept as they are spelled: models are trained on the spelling."""

from __future__ import annotations

from typing import Any

import msgspec

from tuneport.data.formats.contract import Unrepresentable
from tuneport.data.formats.sharegpt.turns import is_sharegpt_json_object


def raw_row_json_text(line: bytes, *path: str | int) -> str:
    """Return the JSON text of one value of the row, such as `spelling(line, "messages", 1, "tool_calls")`.

    The value must exist; the caller has decoded the row and seen it.
    """
    raw = msgspec.Raw(line)
    for step in path:
        if isinstance(step, int):
            raw = msgspec.json.decode(raw, type=list[msgspec.Raw])[step]
        else:
            raw = msgspec.json.decode(raw, type=dict[str, msgspec.Raw])[step]
    return bytes(raw).decode()


def raw_row_json_object(text: str, field: str, lost: list[Unrepresentable]) -> Any:
    """Return the JSON object with its own spelling, for a row to hold, or None if the text is not an object.

    A row is one line, so line breaks outside of the object's strings go, which is a loss.
    """
    if not is_sharegpt_json_object(text):
        return None
    if "\n" in text or "\r" in text:
        lost.append(Unrepresentable(field, "it is an object here; line breaks in it are removed"))
        return msgspec.Raw(msgspec.json.format(text.encode(), indent=-1))
    return msgspec.Raw(text.encode())
