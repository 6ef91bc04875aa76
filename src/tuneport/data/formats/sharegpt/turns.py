"""The turns of ShareGPT: speakers, and calls as JSON text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from tuneport.data.formats.contract import RecordProblems, Unrepresentable, restore_unknown_row_keys
from tuneport.data.rows.records import ImagePart, Message, Role, ToolCall
from tuneport.data.rows.repeated_keys import FIX, is_row_fully_decoded, repeated_keys

ROLES: dict[str, Role] = {
    "human": "user",
    "user": "user",
    "gpt": "assistant",
    "chatgpt": "assistant",
    "assistant": "assistant",
    "bot": "assistant",
    "model": "assistant",
    "system": "system",
    "function_call": "assistant",
    "tool_call": "assistant",
    "observation": "tool",
    "tool": "tool",
    "tool_response": "tool",
    "function_response": "tool",
}
_SPEAKERS = {"user": "human", "assistant": "gpt", "system": "system", "developer": "system", "tool": "observation"}
KNOWN_TURN = ("weight",)
_RESERVED_TURN = frozenset(("from", "value", "role", "content", "weight", "tool_calls", "tool_call_id"))


def read_sharegpt_tool_calls(text: str, at: str, problems: RecordProblems) -> list[ToolCall]:
    """Return one call or a list of them. The arguments keep their spelling."""
    fix = 'write {"name": ..., "arguments": {...}}'
    try:
        rows = msgspec.json.decode(text, type=list[dict[str, msgspec.Raw]] | dict[str, msgspec.Raw])
    except (msgspec.DecodeError, UnicodeEncodeError, RecursionError) as error:
        problems.add(at, f"is not the JSON of a function call: {error}", fix)
        return []
    if not is_row_fully_decoded(text.encode(), rows):  # the arguments are kept as they are spelled, whatever is in them
        for key in [key for path, key in repeated_keys(text) if path in ("", f"[{path[1:-1]}]")]:
            problems.add(at, f"has the key {key!r} twice in a call", FIX)
    calls = []
    for row in rows if isinstance(rows, list) else [rows]:
        name = msgspec.json.decode(row["name"]) if "name" in row else None
        if not isinstance(name, str) or "arguments" not in row:
            problems.add(at, "a function call needs a name and arguments", fix)
            continue
        arguments = bytes(row["arguments"]).decode()
        if arguments.startswith('"'):
            arguments = msgspec.json.decode(arguments, type=str)
        extra = {key: msgspec.json.decode(raw) for key, raw in row.items() if key not in ("name", "arguments")}
        calls.append(ToolCall(name, arguments, extra=extra))
    if not calls:
        problems.add(at, "there is no function call", fix)
    return calls


def write_sharegpt_turns(messages: Sequence[Message], lost: list[Unrepresentable]) -> list[dict[str, Any]]:
    turns: list[dict[str, Any]] = []
    previous: Message | None = None
    for message in messages:
        if message.tool_calls and message.content is None and previous is not None and previous.role == "assistant":
            if previous.content is not None and not previous.tool_calls:
                lost.append(
                    Unrepresentable("messages[]", "an answer and the calls in the next message become one message")
                )
        turns += _write_message(message, lost)
        previous = message
    return turns


def _write_message(message: Message, lost: list[Unrepresentable]) -> list[dict[str, Any]]:
    if message.role == "developer":
        lost.append(Unrepresentable("messages[].role", "there is no developer; it becomes system"))
    turn: dict[str, Any] = {"from": _SPEAKERS[message.role], "value": message.text}
    turns = [turn]
    if message.tool_calls:
        call_turn = {"from": "function_call", "value": _write_calls(message.tool_calls, lost)}
        turns = [call_turn] if message.content is None else [turn, call_turn]
    elif message.content is None:
        lost.append(Unrepresentable("messages[].content", "an absent content becomes an empty text"))
    if isinstance(message.content, list):
        lost.append(Unrepresentable("messages[].content", "content is plain text; parts are joined by newlines"))
        if any(isinstance(part, ImagePart) for part in message.content):
            lost.append(Unrepresentable("messages[].content[].image", "there are no images"))
    if message.name is not None:
        lost.append(Unrepresentable("messages[].name", "there are no names"))
    if message.reasoning is not None:
        lost.append(Unrepresentable("messages[].reasoning", "there is no reasoning"))
    if message.tool_call_id is not None:
        lost.append(Unrepresentable("messages[].tool_call_id", "results belong to calls by order, without ids"))
    last = turns[-1]
    if message.weight is not None:
        last["weight"] = int(message.weight) if message.weight in (0, 1) else message.weight
    if message.extra:
        restore_unknown_row_keys(last, message.extra, _RESERVED_TURN, "messages[].", lost)
    return turns


def _write_calls(calls: Sequence[ToolCall], lost: list[Unrepresentable]) -> str:
    written = [write_sharegpt_tool_call(call, lost) for call in calls]
    return written[0] if len(written) == 1 else f"[{', '.join(written)}]"


def write_sharegpt_tool_call(call: ToolCall, lost: list[Unrepresentable]) -> str:
    """Return the call as the JSON text of its name and arguments, with their spelling unchanged."""
    if call.id is not None:
        lost.append(Unrepresentable("messages[].tool_calls[].id", "results belong to calls by order, without ids"))
    for key in call.extra:
        lost.append(Unrepresentable(f"messages[].tool_calls[].{key}", "a call has a name and arguments"))
    arguments = call.arguments if is_sharegpt_json_object(call.arguments) else _text(call.arguments)
    return f'{{"name": {_text(call.name)}, "arguments": {arguments}}}'


def _text(value: str) -> str:
    return msgspec.json.encode(value).decode()


def is_sharegpt_json_object(text: str) -> bool:
    """Return whether the text is a JSON object without space around it, which can stand inside other JSON unchanged. An
    object with a key twice cannot."""
    if not text.startswith("{") or not text.endswith("}"):
        return False
    try:
        value = msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeEncodeError, RecursionError):
        return False
    return isinstance(value, dict) and (is_row_fully_decoded(text.encode(), value) or not repeated_keys(text))
