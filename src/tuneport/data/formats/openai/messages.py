"""OpenAI's chat messages, read and written. Several formats share them."""

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
from tuneport.data.formats.shared.turns import without_images
from tuneport.data.rows.records import ImagePart, Message, Part, Role, TextPart, ToolCall

ROLES = ("system", "developer", "user", "assistant", "tool", "function")
KNOWN = frozenset(
    ("role", "content", "name", "tool_calls", "tool_call_id", "weight", "reasoning_content", "function_call")
)
ID_PREFIX = "call_"
_INSTEAD = {"tool_calls", "reasoning_content", "refusal"}
"""What an assistant message may have in place of content."""
_DATA_URL = re.compile(r"data:([^;,]+);base64,(.*)", re.DOTALL)


def read_openai_messages(values: Sequence[Any], at: str, problems: RecordProblems) -> list[Message]:
    read = (read_openai_message(value, f"{at}[{index}]", problems) for index, value in enumerate(values))
    return [message for message in read if message is not None]


def read_openai_message(value: Any, at: str, problems: RecordProblems) -> Message | None:
    if not isinstance(value, dict):
        problems.add(
            at, f"a message must be an object, not {row_value_json_type(value)}", 'write {"role": ..., "content": ...}'
        )
        return None
    role = value.get("role")
    if role not in ROLES:
        if role is None:
            problems.add(f"{at}.role", "is missing", f"add one of {', '.join(ROLES[:5])}")
        else:
            problems.add(f"{at}.role", f"{role!r} is not a role", f"use one of {', '.join(ROLES[:5])}")
        return None
    content = _read_content(value, role, at, problems)
    message = Message("tool" if role == "function" else role, content)
    if len(value) > 2 or "content" not in value:
        _read_rest(message, value, at, problems)
    if role == "assistant" and content is None and not message.tool_calls and "refusal" not in message.extra:
        if message.reasoning is None and not any(problem.field.startswith(at) for problem in problems):
            problems.add(f"{at}.content", "an assistant message has neither content nor tool calls", "add its answer")
    return message


def _read_rest(message: Message, value: Mapping[str, Any], at: str, problems: RecordProblems) -> None:
    message.name = problems.read_text(value, "name", at, required=False)
    message.tool_call_id = problems.read_text(value, "tool_call_id", at, required=False)
    message.extra = pick_unknown_row_keys(value, KNOWN)
    message.reasoning = problems.read_text(value, "reasoning_content", at, required=False)
    if message.reasoning is None and isinstance(message.extra.get("reasoning"), str):
        message.reasoning = message.extra.pop("reasoning")  # the same thing as Together and others spell it
    message.weight = _read_weight(value.get("weight"), message.role, f"{at}.weight", problems)
    calls = [
        read_openai_tool_call(call, f"{at}.tool_calls[{index}]", problems)
        for index, call in enumerate(problems.read_items(value, "tool_calls", at))
    ]
    if value.get("function_call") is not None:
        calls.append(_read_function(value["function_call"], f"{at}.function_call", problems))
    message.tool_calls = [call for call in calls if call is not None]
    if message.tool_calls and message.role != "assistant":
        problems.add(f"{at}.tool_calls", f"a message of the role {message.role} cannot call tools", "remove them")


def _read_weight(weight: Any, role: str, at: str, problems: RecordProblems) -> float | None:
    if weight is None:
        return None
    if role != "assistant":
        problems.add(at, "only assistant messages have a weight", "remove it")
    elif isinstance(weight, bool) or weight not in (0, 1):
        problems.add(at, f"must be 0 or 1, not {weight!r}", "use 0 for context only, 1 for trained on")
    else:
        return float(weight)
    return None


def _read_content(value: Mapping[str, Any], role: str, at: str, problems: RecordProblems) -> str | list[Part] | None:
    content = value.get("content")
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        parts = [read_openai_part(part, f"{at}.content[{index}]", problems) for index, part in enumerate(content)]
        if not content:
            problems.add(f"{at}.content", "is an empty list", "give at least one part")
        return [part for part in parts if part is not None]
    if content is not None:
        problems.add(
            f"{at}.content", f"must be text or a list of parts, not {row_value_json_type(content)}", "write it as text"
        )
    elif role not in ("assistant", "function"):
        problems.add(f"{at}.content", "is missing", "add the text of the message")
    return None


def read_openai_part(value: Any, at: str, problems: RecordProblems) -> Part | None:
    kind = value.get("type") if isinstance(value, dict) else None
    if kind == "text":
        text = problems.read_text(value, "text", at)
        return None if text is None else TextPart(text, pick_unknown_row_keys(value, ("type", "text")))
    if kind == "image_url":
        image = value.get("image_url")
        url = problems.read_text(image, "url", f"{at}.image_url") if isinstance(image, dict) else None
        if not isinstance(image, dict):
            problems.add(f"{at}.image_url", "must be an object with a url", 'write {"url": "https://..."}')
        if url is None or not isinstance(image, dict):
            return None
        detail = problems.read_text(image, "detail", f"{at}.image_url", required=False)
        unknown = pick_unknown_row_keys(image, ("url", "detail"))
        if unknown:
            problems.add(f"{at}.image_url.{next(iter(unknown))}", "is not a key of an image", "remove it")
        inline = _DATA_URL.fullmatch(url)
        extra = pick_unknown_row_keys(value, ("type", "image_url"))
        if inline:
            return ImagePart(data=inline[2], media_type=inline[1], detail=detail, extra=extra)
        return ImagePart(url=url, detail=detail, extra=extra)
    if not add_unheard_part(kind, at, problems):
        problems.add(at, f"a part of the type {kind!r} is not supported", "use parts of the types text and image_url")
    return None


def read_openai_tool_call(value: Any, at: str, problems: RecordProblems) -> ToolCall | None:
    if not isinstance(value, dict) or value.get("type", "function") != "function":
        problems.add(at, "a tool call must be an object of the type function", 'write {"id", "type", "function"}')
        return None
    call = _read_function(value.get("function"), f"{at}.function", problems)
    if call is not None:
        call.id = problems.read_text(value, "id", at, required=False)
        call.extra = pick_unknown_row_keys(value, ("id", "type", "function"))
    return call


def _read_function(value: Any, at: str, problems: RecordProblems) -> ToolCall | None:
    if not isinstance(value, dict):
        problems.add(
            at, f"must be an object, not {row_value_json_type(value)}", 'write {"name": ..., "arguments": "{...}"}'
        )
        return None
    name, arguments = problems.read_text(value, "name", at), value.get("arguments")
    unknown = pick_unknown_row_keys(value, ("name", "arguments"))
    if unknown:
        problems.add(f"{at}.{next(iter(unknown))}", "is not a key of a function call", "move it into the arguments")
    if not isinstance(arguments, str):
        problems.add(
            f"{at}.arguments",
            f"must be JSON as text, not {row_value_json_type(arguments)}",
            "write it as a JSON string",
        )
        return None
    return None if name is None else ToolCall(name, arguments)


def check_openai_tool_results(messages: Sequence[Message], at: str, problems: RecordProblems) -> None:
    """Check that each result names an earlier call, or that there are no ids and order ties them."""
    seen: set[str] = set()
    anonymous = 0
    for index, message in enumerate(messages):
        for call in message.tool_calls:
            anonymous += call.id is None
            seen.add(call.id or "")
        if message.role != "tool":
            continue
        field = f"{at}[{index}].tool_call_id"
        if message.tool_call_id is None and not anonymous:
            problems.add(field, "is missing", "name the tool call that the message answers")
        elif message.tool_call_id is not None and message.tool_call_id not in seen:
            problems.add(field, f"{message.tool_call_id!r} is not the id of an earlier tool call", "correct it")


def write_openai_messages(
    messages: Sequence[Message], lost: list[Unrepresentable], *, shown_by: tuple[Role, ...] = ("user",)
) -> list[dict[str, Any]]:
    """Write messages as OpenAI takes them: only users may show images, and in a pair (`shown_by=()`) no role may."""
    return [write_openai_message(without_images(message, lost, shown_by=shown_by), lost) for message in messages]


def write_openai_message(message: Message, lost: list[Unrepresentable]) -> dict[str, Any]:
    content = message.content
    row: dict[str, Any] = {"role": message.role}
    if isinstance(content, str):
        row["content"] = content
    elif content is not None:
        row["content"] = [_write_part(part, lost) for part in content]
    if message.name is not None:
        row["name"] = message.name
    if message.reasoning is not None:
        row["reasoning_content"] = message.reasoning
    if message.tool_calls:
        row["tool_calls"] = [_write_call(call, lost) for call in message.tool_calls]
    if message.tool_call_id is not None:
        row["tool_call_id"] = message.tool_call_id
    if message.weight is not None:
        row["weight"] = int(message.weight) if message.weight in (0, 1) else message.weight
        if message.weight not in (0, 1) or message.role != "assistant":
            lost.append(
                Unrepresentable("messages[].weight", "only an assistant message has a weight, and it is 0 or 1")
            )
            del row["weight"]
    if message.extra:
        known = KNOWN if message.reasoning is not None else KNOWN | {"reasoning"}
        restore_unknown_row_keys(row, message.extra, known, "messages[].", lost)
    if content is None and not (message.role == "assistant" and row.keys() & _INSTEAD):
        row["content"] = ""
        lost.append(Unrepresentable("messages[].content", "must be text; an absent one becomes an empty text"))
    return row


def _write_part(part: Part, lost: list[Unrepresentable]) -> dict[str, Any]:
    if isinstance(part, TextPart):
        row: dict[str, Any] = {"type": "text", "text": part.text}
        restore_unknown_row_keys(row, part.extra, (), "messages[].content[].", lost)
        return row
    image: dict[str, Any] = {"url": part.url if part.url is not None else f"data:{part.media_type};base64,{part.data}"}
    if part.detail is not None:
        image["detail"] = part.detail
    row = {"type": "image_url", "image_url": image}
    restore_unknown_row_keys(row, part.extra, (), "messages[].content[].", lost)
    return row


def _write_call(call: ToolCall, lost: list[Unrepresentable]) -> dict[str, Any]:
    row = {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
    restore_unknown_row_keys(row, call.extra, (), "messages[].tool_calls[].", lost)
    return row
