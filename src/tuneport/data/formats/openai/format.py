"""OpenAI chat: `{"messages": [...], "tools": [...], "parallel_tool_calls": ...}`, one object a line.

Source: OpenAI's FineTuneChatRequestInput. Columns beyond it are kept as metadata. The deprecated `functions`,
`function_call` and role `function` are read as tools, calls and results, and written in the new spelling.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import msgspec

from tuneport.data.formats.contract import (
    RecordProblems,
    Unrepresentable,
    Written,
    chat_of_record,
    decode_dataset_row,
    note_lost_weight,
    pick_unknown_row_keys,
    restore_unknown_row_keys,
)
from tuneport.data.formats.openai import messages as chat
from tuneport.data.formats.shared.media import columns_beside_messages
from tuneport.data.formats.shared.tools import (
    add_message_call_ids,
    drop_generated_call_ids,
    has_input_schema,
    has_message_tool_calls,
    read_format_tools,
    wrap_format_tool,
)
from tuneport.data.rows.records import Chat, Message, Record, Tool
from tuneport.data.rows.repeated_keys import are_row_texts_fully_decoded

NAME = "openai"
KNOWN = frozenset(("messages", "tools", "functions", "parallel_tool_calls"))


class _PlainMessage(msgspec.Struct, forbid_unknown_fields=True):
    role: Literal["system", "user", "assistant"]
    content: str


class _PlainRow(msgspec.Struct, forbid_unknown_fields=True):
    messages: list[_PlainMessage]


_plain = msgspec.json.Decoder(_PlainRow)


def likeness(row: Mapping[str, Any]) -> tuple[float, str]:
    messages = row.get("messages")
    if not isinstance(messages, list) or not all(isinstance(m, dict) for m in messages):
        return 0.0, "there is no list of messages"
    if not any("role" in m for m in messages):
        return 0.0, "the messages have no role"
    if isinstance(row.get("system"), (str, list)):
        return 0.0, "there is a system prompt outside the messages"
    for message in messages:
        foreign = foreign_to_openai(message)
        if foreign:
            return 0.0, foreign
    beside = columns_beside_messages(row)
    if beside:
        return 0.0, beside
    if has_input_schema(row):
        return 0.0, "the tools have Anthropic's input_schema"
    if not any(m.get("role") == "assistant" for m in messages) and pick_unknown_row_keys(row, KNOWN):
        return 0.5, "messages with role and content, though without an answer to train towards"
    if any(m.get("role") not in ("user", "assistant") or "tool_calls" in m for m in messages):
        if "weight" in row:
            return 0.9, "messages with role and content, and a weight of the row, which is a mere column here"
        return 1.0, "messages with role and content, system or tool among the roles"
    return 0.9, "messages with role and content"


def foreign_to_openai(message: Mapping[str, Any]) -> str:
    """Return what other formats with messages have in one, as text; "" if there is nothing."""
    if "loss_weight" in message:
        return "there are LLaMA-Factory's loss weights"
    content, calls = message.get("content"), message.get("tool_calls")
    for block in content if isinstance(content, list) else ():
        if isinstance(block, dict) and block.get("type") in ("tool_use", "tool_result", "thinking", "image"):
            return "there are content blocks of Anthropic's or Hugging Face's types"
        if isinstance(block, dict) and "value" in block:
            return "there are LLaMA-Factory's content blocks"
    for call in calls if isinstance(calls, list) else ():
        function = call.get("function") if isinstance(call, dict) else None
        if isinstance(function, dict) and isinstance(function.get("arguments"), dict):
            return "the arguments of a call are an object, not text"
    return ""


def read_format_row(line: bytes) -> Record:
    try:
        plain = _plain.decode(line)
    except (msgspec.ValidationError, UnicodeDecodeError):
        return _read_any(decode_dataset_row(line))
    messages = [Message(message.role, message.content) for message in plain.messages]
    if are_row_texts_fully_decoded(line, 2 + 8 * len(messages), [message.content for message in plain.messages]):
        for message in messages:
            if message.role == "assistant":
                return Chat(messages)
    return _read_any(decode_dataset_row(line))


def _read_any(row: dict[str, Any]) -> Chat:
    problems = RecordProblems()
    if "system" in row:
        problems.add(
            "system", "is not a key of this format", "move it into a message of the role system, or name the format"
        )
    messages = read_openai_conversation(row, "", problems)
    problems.require_answer(messages, "messages")
    tools = read_openai_definitions(row, "", problems)
    parallel = read_openai_parallel_calls(row, "", problems)
    problems.raise_if_any()
    return Chat(messages, tools=tools, parallel_tool_calls=parallel, metadata=pick_unknown_row_keys(row, KNOWN))


def read_openai_conversation(row: Mapping[str, Any], at: str, problems: RecordProblems) -> list[Message]:
    field = f"{at}.messages" if at else "messages"
    values = problems.read_items(row, "messages", at)
    if not values and not any(problem.field == field for problem in problems):
        problems.add(field, "is empty" if "messages" in row else "is missing", "add the conversation's messages")
    messages = chat.read_openai_messages(values, field, problems)
    if not problems:
        chat.check_openai_tool_results(messages, field, problems)
        drop_generated_call_ids(messages, chat.ID_PREFIX)
    return messages


def read_openai_definitions(row: Mapping[str, Any], at: str, problems: RecordProblems) -> list[Tool]:
    before = f"{at}." if at else ""
    tools = read_format_tools(problems.read_items(row, "tools", at), problems, f"{before}tools")
    return tools + read_format_tools(problems.read_items(row, "functions", at), problems, f"{before}functions")


def read_openai_parallel_calls(row: Mapping[str, Any], at: str, problems: RecordProblems) -> bool | None:
    parallel = row.get("parallel_tool_calls")
    if parallel is None or isinstance(parallel, bool):
        return parallel
    field = f"{at}.parallel_tool_calls" if at else "parallel_tool_calls"
    problems.add(field, "must be true or false", "write true or false")
    return None


def write_format_row(record: Record) -> Written:
    lost: list[Unrepresentable] = []
    record_as_chat = chat_of_record(record, lost)
    if record_as_chat is None:
        return None, lost
    messages = record_as_chat.messages
    if has_message_tool_calls(messages):
        messages = add_message_call_ids(messages, chat.ID_PREFIX, lost)
    row: dict[str, Any] = {"messages": chat.write_openai_messages(messages, lost)}
    write_openai_tool_settings(record_as_chat, row, lost)
    note_lost_weight(record, lost)
    if record.metadata:
        restore_unknown_row_keys(row, record.metadata, KNOWN | {"system"}, "", lost)
    return row, lost


def write_openai_tool_settings(record: Record, row: dict[str, Any], lost: list[Unrepresentable]) -> None:
    if record.tools:
        row["tools"] = write_openai_tools(record.tools, lost)
    if record.parallel_tool_calls is not None:
        row["parallel_tool_calls"] = record.parallel_tool_calls


def write_openai_tools(tools: list[Tool], lost: list[Unrepresentable]) -> list[dict[str, Any]]:
    return [wrap_format_tool(tool, lost) for tool in tools]


def note_row_spelling(line: bytes) -> str:
    if b'"functions"' in line or b'"function_call"' in line:
        return "the deprecated functions and function_call are read as tools and tool_calls"
    return ""
