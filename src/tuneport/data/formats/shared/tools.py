"""Tool definitions in their three spellings, and the ids that tie calls to results."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import msgspec

from tuneport.data.formats.contract import (
    RecordProblems,
    Unrepresentable,
    pick_unknown_row_keys,
    restore_unknown_row_keys,
    row_value_json_type,
)
from tuneport.data.rows.records import Message, Tool

BARE = frozenset({"name", "description", "parameters", "strict"})
ANTHROPIC = frozenset({"name", "description", "input_schema", "strict"})


def read_format_tool(value: Any, at: str, problems: RecordProblems, *, schema_key: str = "parameters") -> Tool | None:
    """Return a definition, bare or wrapped as `{"type": "function", "function": {...}}`."""
    if not isinstance(value, dict):
        problems.add(at, f"a tool must be an object, not {row_value_json_type(value)}", "give its name and parameters")
        return None
    wrapper: Mapping[str, Any] = {}
    if isinstance(value.get("function"), dict):
        wrapper, value, at = pick_unknown_row_keys(value, ("function", "type")), value["function"], f"{at}.function"
    name = problems.read_text(value, "name", at)
    description = problems.read_text(value, "description", at, required=False)
    parameters, strict = value.get(schema_key), value.get("strict")
    if parameters is not None and not isinstance(parameters, dict):
        problems.add(
            f"{at}.{schema_key}",
            f"must be a JSON schema, not {row_value_json_type(parameters)}",
            "write it as an object",
        )
    if strict is not None and not isinstance(strict, bool):
        problems.add(f"{at}.strict", f"must be true or false, not {row_value_json_type(strict)}", "write true or false")
    if name is None:
        return None
    known = BARE if schema_key == "parameters" else ANTHROPIC
    return Tool(name, description, parameters, strict, {**wrapper, **pick_unknown_row_keys(value, known)})


def has_input_schema(row: Mapping[str, Any]) -> bool:
    """Return whether the row's tools are spelled as Anthropic's."""
    tools = row.get("tools")
    return isinstance(tools, list) and any(isinstance(tool, dict) and "input_schema" in tool for tool in tools)


def read_format_tools(values: Iterable[Any], problems: RecordProblems, at: str = "tools") -> list[Tool]:
    read = (read_format_tool(value, f"{at}[{index}]", problems) for index, value in enumerate(values))
    return [tool for tool in read if tool is not None]


def write_format_tool(tool: Tool, lost: list[Unrepresentable], *, schema_key: str = "parameters") -> dict[str, Any]:
    row: dict[str, Any] = {"name": tool.name}
    if tool.description is not None:
        row["description"] = tool.description
    if tool.parameters is not None:
        row[schema_key] = tool.parameters
    if tool.strict is not None:
        row["strict"] = tool.strict
    restore_unknown_row_keys(row, tool.extra, {schema_key, "function"}, "tools[].", lost)
    return row


def wrap_format_tool(tool: Tool, lost: list[Unrepresentable]) -> dict[str, Any]:
    return {"type": "function", "function": write_format_tool(tool, lost)}


# Some formats tie results to calls by order, others by id. Where the record has no ids, the writer numbers the calls
# (`call_1`, `call_2` ...), and a reader that meets exactly that numbering, results in the order of the calls, takes it
# away again: so nothing is invented that would not vanish on the way back.


def _slots(messages: Iterable[Message], prefix: str, start: int = 0) -> Iterator[tuple[Any, str, str | None]]:
    """Yield each call or result, the name of its id field, and the id that it would get by order."""
    number = start
    waiting: Iterator[int] = iter(())
    for message in messages:
        if message.role == "assistant" and message.tool_calls:
            first = number + 1
            for call in message.tool_calls:
                number += 1
                yield call, "id", f"{prefix}{number}"
            waiting = iter(range(first, number + 1))
        elif message.role == "tool":
            of = next(waiting, None)
            yield message, "tool_call_id", None if of is None else f"{prefix}{of}"


def drop_generated_call_ids(messages: list[Message], prefix: str, start: int = 0) -> None:
    """Remove ids, in place, if they are exactly those that `add_message_call_ids` would give."""
    slots = list(_slots(messages, prefix, start))
    if slots and all(getattr(slot, name) == by_order is not None for slot, name, by_order in slots):
        for slot, name, _ in slots:
            setattr(slot, name, None)


def add_message_call_ids(
    messages: list[Message], prefix: str, lost: list[Unrepresentable], start: int = 0
) -> list[Message]:
    """Return the messages with an id in each call and each result. Copies messages that it changes."""
    slots = list(_slots(messages, prefix, start))
    if all(getattr(slot, name) is not None for slot, name, _ in slots):
        return messages
    if any(getattr(slot, name) is not None for slot, name, _ in slots):
        lost.append(
            Unrepresentable(
                "messages[].tool_calls[].id", "some calls have an id and others not; the missing are invented"
            )
        )
    if any(by_order is None for _, _, by_order in slots):
        lost.append(Unrepresentable("messages[].tool_call_id", "a result belongs to no call; its id is invented"))
    copies = [
        msgspec.structs.replace(m, tool_calls=[msgspec.structs.replace(c) for c in m.tool_calls]) for m in messages
    ]
    for extra, (slot, name, by_order) in enumerate(_slots(copies, prefix, start)):
        if getattr(slot, name) is None:
            setattr(slot, name, by_order or f"{prefix}unmatched_{extra + 1}")
    return copies


def count_message_tool_calls(messages: Iterable[Message]) -> int:
    return sum(len(message.tool_calls) for message in messages)


def has_message_tool_calls(messages: Iterable[Message]) -> bool:
    return any(message.tool_calls or message.role == "tool" for message in messages)
