"""OpenAI reinforcement rows: `{"messages": [...], "tools": [...]}` that end with the user's message, and any columns
beside them, which a grader reads as `{{item.COLUMN}}`.

Source: Microsoft's guide to reinforcement fine-tuning, which is OpenAI's API ("the final message must be assigned a
user role; the data can contain extra fields and values for use by a grader"). What there is beside OpenAI's own keys
is kept as the record's `reference`: it is part of what is trained on, not a mere column.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tuneport.data.formats.contract import (
    RecordProblems,
    Unrepresentable,
    Written,
    decode_dataset_row,
    note_lost_weight,
    pick_unknown_row_keys,
    restore_unknown_row_keys,
)
from tuneport.data.formats.contract import note_row_spelling as note_row_spelling
from tuneport.data.formats.openai import messages as chat
from tuneport.data.formats.openai.format import (
    KNOWN,
    foreign_to_openai,
    read_openai_conversation,
    read_openai_definitions,
    read_openai_parallel_calls,
    write_openai_tool_settings,
)
from tuneport.data.formats.shared.media import columns_beside_messages
from tuneport.data.formats.shared.tools import add_message_call_ids, has_message_tool_calls
from tuneport.data.rows.records import Graded, Record

NAME = "openai-reinforcement"


def likeness(row: Mapping[str, Any]) -> tuple[float, str]:
    messages = row.get("messages")
    if not isinstance(messages, list) or not messages or not all(isinstance(item, dict) for item in messages):
        return 0.0, "there is no list of messages"
    if isinstance(row.get("system"), (str, list)) or any(foreign_to_openai(message) for message in messages):
        return 0.0, "there are keys of other formats with messages"
    beside = columns_beside_messages(row)
    if beside:
        return 0.0, beside
    if messages[-1].get("role") == "assistant" and pick_unknown_row_keys(row, KNOWN):
        return 0.1, "messages with further columns, though they end with an answer"
    if messages[-1].get("role") != "user":
        return 0.0, "the messages do not end with the user's"
    if not pick_unknown_row_keys(row, KNOWN):
        return 0.4, "messages that end with the user's, and no column that a grader could compare an answer with"
    if any(message.get("role") == "assistant" for message in messages):
        return 0.5, "messages that end with the user's, and further columns; a chat may end so as well"
    return 1.0, "messages without an answer, and columns that a grader can compare one with"


def read_format_row(line: bytes) -> Record:
    row = decode_dataset_row(line)
    problems = RecordProblems()
    messages = read_openai_conversation(row, "", problems)
    if messages and not problems and messages[-1].role != "user":
        rule = f"the last one is of the role {messages[-1].role}; training continues after the user's message"
        problems.add("messages", rule, "move the answer into a column of its own for the grader")
    tools = read_openai_definitions(row, "", problems)
    parallel = read_openai_parallel_calls(row, "", problems)
    problems.raise_if_any()
    return Graded(messages, pick_unknown_row_keys(row, KNOWN), tools=tools, parallel_tool_calls=parallel)


def write_format_row(record: Record) -> Written:
    lost: list[Unrepresentable] = []
    if not isinstance(record, Graded):
        return None, [Unrepresentable("", "the method rft takes conversations that end with the user's message")]
    messages = (
        add_message_call_ids(record.messages, chat.ID_PREFIX, lost)
        if has_message_tool_calls(record.messages)
        else record.messages
    )
    row: dict[str, Any] = {"messages": chat.write_openai_messages(messages, lost)}
    write_openai_tool_settings(record, row, lost)
    note_lost_weight(record, lost)
    if record.metadata:
        lost.append(Unrepresentable("metadata", "every column is one that the grader sees"))
    restore_unknown_row_keys(row, record.reference, KNOWN, "", lost)
    return row, lost
