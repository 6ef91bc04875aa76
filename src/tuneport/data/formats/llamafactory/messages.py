"""Messages of LLaMA-Factory's version 1: typed parts with a value, and a loss weight."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from tuneport.data.formats.contract import (
    RecordProblems,
    Unrepresentable,
    pick_unknown_row_keys,
    restore_unknown_row_keys,
    row_value_json_type,
)
from tuneport.data.formats.shared.media import add_unheard_part
from tuneport.data.formats.shared.turns import without_developer
from tuneport.data.formats.sharegpt.turns import read_sharegpt_tool_calls, write_sharegpt_tool_call
from tuneport.data.rows.records import ImagePart, Message, Part, TextPart

ROLES = ("system", "user", "assistant", "tool")
_KEYS = ("role", "content", "loss_weight")
_PART = ("type", "value")
_DATA_URL = re.compile(r"data:([^;,]+);base64,(.*)", re.DOTALL)


def read_llamafactory_messages(row: Mapping[str, Any], key: str, problems: RecordProblems) -> list[Message]:
    values = problems.read_items(row, key)
    if not values and not problems:
        problems.add(key, "is empty" if key in row else "is missing", "add the conversation's messages")
    found = [_read_message(value, f"{key}[{index}]", problems) for index, value in enumerate(values)]
    messages = [message for message in found if message is not None]
    problems.require_answer(messages, key)
    return messages


def _read_message(value: Any, at: str, problems: RecordProblems) -> Message | None:
    if not isinstance(value, dict):
        problems.add(
            at,
            f"a message must be an object, not {row_value_json_type(value)}",
            'write {"role": ..., "content": [...]}',
        )
        return None
    role = value.get("role")
    if role not in ROLES:
        rule = "is missing" if role is None else f"{role!r} is not a role"
        problems.add(f"{at}.role", rule, f"use one of {', '.join(ROLES)}")
        return None
    message = Message(role, extra=pick_unknown_row_keys(value, _KEYS))
    weight = value.get("loss_weight")
    if isinstance(weight, bool) or (weight is not None and not isinstance(weight, int | float)):
        problems.add(f"{at}.loss_weight", f"must be a number, not {row_value_json_type(weight)}", "use 0 or 1")
    elif role == "assistant":
        message.weight = None if weight is None else float(weight)
    elif weight:
        message.extra["loss_weight"] = weight  # a question that is trained on, which a record has no other place for
    content = value.get("content")
    if isinstance(content, str):
        message.content = content
    elif isinstance(content, list):
        _read_parts(message, content, at, problems)
    else:
        problems.add(
            f"{at}.content", f"must be a list of parts, not {row_value_json_type(content)}", 'write [{"type", "value"}]'
        )
    return message


def _read_parts(message: Message, values: list[Any], at: str, problems: RecordProblems) -> None:
    parts: list[Part] = []
    for index, value in enumerate(values):
        field = f"{at}.content[{index}]"
        kind = value.get("type") if isinstance(value, dict) else None
        if add_unheard_part(kind, field, problems):
            continue
        if kind not in ("text", "reasoning", "image_url", "tool_call"):
            fix = "use text, reasoning, image_url and tool_call"
            problems.add(field, f"a part of the type {kind!r} is not supported", fix)
            continue
        text = problems.read_text(value, "value", field)
        rest = pick_unknown_row_keys(value, _PART)
        if text is None:
            continue
        if message.tool_calls and kind != "tool_call":
            problems.add(field, "stands after a call", "put the calls of a message at its end")
        elif rest and kind in ("reasoning", "tool_call"):
            problems.add(f"{field}.{next(iter(rest))}", "is not a key of such a part", "remove it")
        elif kind == "text":
            parts.append(TextPart(text, rest))
        elif kind == "image_url":
            inline = _DATA_URL.fullmatch(text)
            data = {"data": inline[2], "media_type": inline[1]} if inline else {"url": text}
            parts.append(ImagePart(**data, extra=rest))
        elif message.role != "assistant":
            problems.add(field, f"a message of the role {message.role} has no {kind}", "remove it")
        elif kind == "tool_call":
            message.tool_calls = [*message.tool_calls, *read_sharegpt_tool_calls(text, field, problems)]
        elif message.reasoning is not None or parts:
            problems.add(field, "stands after other parts", "put the reasoning first, and once")
        else:
            message.reasoning = text
    if len(parts) == 1 and isinstance(parts[0], TextPart) and not parts[0].extra:
        message.content = parts[0].text
    else:
        message.content = parts or None


def drop_default_row_weights(messages: Sequence[Message]) -> None:
    """Remove the weights, in place, if every answer has 1 or none, which is the default."""
    answers = [message for message in messages if message.role == "assistant"]
    if all(message.weight in (1, None) for message in answers):
        for message in answers:
            message.weight = None


def write_llamafactory_messages(
    messages: Sequence[Message], whole: Sequence[Message], lost: list[Unrepresentable]
) -> list[dict[str, Any]]:
    """Write the messages. `whole` is all that the record has: its weights tell whether absent ones can be told from
    ones of 1."""
    weights = [message.weight for message in whole if message.role == "assistant"]
    if set(weights) != {None} and (None in weights or set(weights) == {1.0}):
        lost.append(Unrepresentable("messages[].weight", "a weight of 1 and an absent one are the same"))
    return [_write_message(message, lost) for message in without_developer(messages, lost)]


def _write_message(message: Message, lost: list[Unrepresentable]) -> dict[str, Any]:
    parts: list[dict[str, Any]] = []
    if message.reasoning is not None:
        parts.append({"type": "reasoning", "value": message.reasoning})
        if message.role != "assistant":
            lost.append(Unrepresentable("messages[].reasoning", "only an assistant thinks"))
            parts.clear()
    content = message.content
    if isinstance(content, str):
        parts.append({"type": "text", "value": content})
    elif content is not None:
        if len(content) == 1 and isinstance(content[0], TextPart) and not content[0].extra:
            lost.append(Unrepresentable("messages[].content", "a single text part becomes the text itself"))
        parts += [_write_part(part, lost) for part in content]
    parts += [{"type": "tool_call", "value": write_sharegpt_tool_call(call, lost)} for call in message.tool_calls]
    weight: float = 0.0
    if message.role == "assistant":
        weight = 1.0 if message.weight is None else message.weight
    elif message.weight is not None:
        lost.append(Unrepresentable("messages[].weight", "only an assistant message has a weight"))
    row: dict[str, Any] = {"role": message.role, "content": parts, "loss_weight": weight}
    extra = dict(message.extra)
    if message.role != "assistant" and extra.get("loss_weight") and isinstance(extra["loss_weight"], int | float):
        row["loss_weight"] = extra.pop("loss_weight")
    restore_unknown_row_keys(row, extra, _KEYS, "messages[].", lost)
    if message.name is not None:
        lost.append(Unrepresentable("messages[].name", "there are no names"))
    if message.tool_call_id is not None:
        lost.append(Unrepresentable("messages[].tool_call_id", "results belong to calls by order, without ids"))
    return row


def _write_part(part: Part, lost: list[Unrepresentable]) -> dict[str, Any]:
    if isinstance(part, TextPart):
        row = {"type": "text", "value": part.text}
    else:
        url = part.url if part.url is not None else f"data:{part.media_type};base64,{part.data}"
        row = {"type": "image_url", "value": url}
        if part.detail is not None:
            lost.append(Unrepresentable("messages[].content[].detail", "an image has no detail setting"))
    restore_unknown_row_keys(row, part.extra, _PART, "messages[].content[].", lost)
    return row
