"""Anthropic messages: `{"system": ..., "messages": [...], "tools": [...]}` with no system role inside.

Content is text or blocks: text, image, thinking, tool_use in an assistant turn, tool_result in a user turn. In a
record each tool result is a message of its own, and a turn whose blocks go back (text after a call, a second thought)
is several messages of one role; written back they are one turn again.
Source: Anthropic's Messages API, and its fine-tuning format for Claude 3 Haiku on Bedrock.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import msgspec

from tuneport.data.formats.anthropic.blocks import (
    ID_PREFIX,
    AnthropicCallInputs,
    AnthropicTurnWriter,
    read_anthropic_parts,
    read_anthropic_turn,
)
from tuneport.data.formats.contract import (
    NO_PARAMETERS,
    RecordProblems,
    Unrepresentable,
    Written,
    chat_of_record,
    decode_dataset_row,
    note_lost_parallel_calls,
    note_lost_weight,
    pick_unknown_row_keys,
    restore_unknown_row_keys,
    row_round_trips,
    row_value_json_type,
)
from tuneport.data.formats.contract import note_row_spelling as note_row_spelling
from tuneport.data.formats.openai.messages import check_openai_tool_results
from tuneport.data.formats.shared.media import columns_beside_messages
from tuneport.data.formats.shared.tools import (
    add_message_call_ids,
    drop_generated_call_ids,
    has_input_schema,
    has_message_tool_calls,
    read_format_tool,
    write_format_tool,
)
from tuneport.data.rows.records import Chat, Message, Record
from tuneport.data.rows.repeated_keys import are_row_texts_fully_decoded

NAME = "anthropic"
KNOWN = frozenset(("system", "messages", "tools"))
_BLOCKS = ("tool_use", "tool_result", "thinking")


class _PlainMessage(msgspec.Struct, forbid_unknown_fields=True):
    role: Literal["user", "assistant"]
    content: str


class _PlainRow(msgspec.Struct, forbid_unknown_fields=True):
    messages: list[_PlainMessage]
    system: str | None | msgspec.UnsetType = msgspec.UNSET


_plain = msgspec.json.Decoder(_PlainRow)


def likeness(row: Mapping[str, Any]) -> tuple[float, str]:
    messages = row.get("messages")
    if not isinstance(messages, list) or not messages or not all(isinstance(m, dict) for m in messages):
        return 0.0, "there is no list of messages"
    if not all(message.get("role") in ("user", "assistant") for message in messages):
        return 0.0, "there are roles besides user and assistant"
    if any("tool_calls" in message or "function_call" in message for message in messages):
        return 0.0, "there are OpenAI's tool calls"
    beside = columns_beside_messages(row)
    if beside:
        return 0.0, beside
    if "system" in row:
        return 1.0, "a system prompt outside the messages"
    for message in messages:
        content = message.get("content")
        for block in content if isinstance(content, list) else ():
            if not isinstance(block, dict):
                continue
            if block.get("type") in _BLOCKS or ("source" in block and block.get("type") != "text"):
                return 1.0, "content blocks of Anthropic's types"
            if block.get("type") == "image" or "value" in block:
                return 0.0, "there are content blocks of Hugging Face's or LLaMA-Factory's types"
    if has_input_schema(row):
        return 1.0, "tools with an input_schema"
    return 0.6, "messages from user and assistant only"


def read_format_row(line: bytes) -> Record:
    try:
        plain = _plain.decode(line)
    except (msgspec.ValidationError, UnicodeDecodeError):
        return _read_any(line)
    system = plain.system or ""
    messages = [] if not system else [Message("system", system)]
    messages += [Message(message.role, message.content) for message in plain.messages]
    around = 0 if plain.system is msgspec.UNSET else 2 if plain.system is None else 4
    texts = [system, *[message.content for message in plain.messages]]
    if are_row_texts_fully_decoded(line, around + 2 + 8 * len(plain.messages), texts):
        for message in messages:
            if message.role == "assistant":
                return Chat(messages)
    return _read_any(line)


def _read_any(line: bytes) -> Chat:
    row = decode_dataset_row(line)
    problems = RecordProblems()
    inputs = AnthropicCallInputs(line)
    messages: list[Message] = []
    system = row.get("system")
    if isinstance(system, list):
        messages.append(Message("system", read_anthropic_parts(system, "system", problems)))
    elif isinstance(system, str):
        messages += [Message("system", system)] if system else []
    elif system is not None:
        problems.add(
            "system", f"must be text or a list of text blocks, not {row_value_json_type(system)}", "write it as text"
        )
    turns = problems.read_items(row, "messages")
    if not turns and not problems:
        problems.add("messages", "is empty" if "messages" in row else "is missing", "add the conversation's messages")
    for index, turn in enumerate(turns):
        messages += read_anthropic_turn(turn, f"messages[{index}]", problems, inputs)
    if messages:
        problems.require_answer(messages, "messages")
    tools = [
        read_format_tool(value, f"tools[{index}]", problems, schema_key="input_schema")
        for index, value in enumerate(problems.read_items(row, "tools"))
    ]
    for tool in tools:
        if tool is not None and tool.parameters == NO_PARAMETERS:
            tool.parameters = None  # what `write_format_row` gives a tool without parameters
    if not problems:
        check_openai_tool_results(messages, "messages", problems)
    problems.raise_if_any()
    drop_generated_call_ids(messages, ID_PREFIX)
    return Chat(
        messages, tools=[tool for tool in tools if tool is not None], metadata=pick_unknown_row_keys(row, KNOWN)
    )


def write_format_row(record: Record) -> Written:
    lost: list[Unrepresentable] = []
    chat = chat_of_record(record, lost)
    if chat is None:
        return None, lost
    messages = chat.messages
    if has_message_tool_calls(messages):
        messages = add_message_call_ids(messages, ID_PREFIX, lost)
    writer = AnthropicTurnWriter(lost)
    row: dict[str, Any] = {}
    if messages and messages[0].role == "system" and messages[0].content:
        row["system"] = writer.system(messages[0])
        messages = messages[1:]
    for message in messages:
        writer.add(message)
    row["messages"] = writer.turns
    if record.tools:
        row["tools"] = [_write_tool(tool, lost) for tool in record.tools]
    note_lost_parallel_calls(record, lost)
    note_lost_weight(record, lost)
    if record.metadata:
        restore_unknown_row_keys(row, record.metadata, KNOWN, "", lost)
    if writer.joined and not lost and not row_round_trips(read_format_row, row, record):
        lost.append(Unrepresentable("messages[]", "turns must alternate; consecutive messages of a role are joined"))
    return row, lost


def _write_tool(tool: Any, lost: list[Unrepresentable]) -> dict[str, Any]:
    row = write_format_tool(tool, lost, schema_key="input_schema")
    row.setdefault("input_schema", dict(NO_PARAMETERS))  # required; `read_format_row` takes exactly this away again
    return row
