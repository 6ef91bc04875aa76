"""ShareGPT: `{"conversations": [{"from": "human", "value": ...}, ...], "tools": "[...]"}`, as LLaMA-Factory reads it.

Turns come from human, gpt, system, function_call (JSON of one call, or a list of calls), observation or tool. Read as
well: the spelling with role and content, a top-level `system`, `tools` as a list, `weight` in a turn (as OpenChat and
axolotl have it), a boolean `label` (KTO) and preference pairs, where `chosen` and `rejected` are turns that end
`conversations`. Results belong to calls by order. A gpt turn before a function_call is the text of the same message.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Literal

import msgspec

from tuneport.data.formats.contract import (
    RecordProblems,
    Unrepresentable,
    Written,
    chat_of_record,
    decode_dataset_row,
    note_lost_parallel_calls,
    note_lost_weight,
    pick_unknown_row_keys,
    restore_unknown_row_keys,
    row_value_json_type,
)
from tuneport.data.formats.contract import note_row_spelling as note_row_spelling
from tuneport.data.formats.openai import messages as openai_messages
from tuneport.data.formats.shared.media import MEDIA_COLUMNS, picture_column
from tuneport.data.formats.shared.tools import (
    drop_generated_call_ids,
    has_message_tool_calls,
    read_format_tools,
    write_format_tool,
)
from tuneport.data.formats.sharegpt.turns import KNOWN_TURN, ROLES, read_sharegpt_tool_calls, write_sharegpt_turns
from tuneport.data.rows.records import Chat, Labelled, Message, Preference, Record, Tool
from tuneport.data.rows.repeated_keys import FIX, are_row_texts_fully_decoded, repeated_keys

NAME = "sharegpt"
KNOWN = frozenset(("conversations", "system", "tools"))
_PAIR = KNOWN | {"chosen", "rejected"}
_RESERVED = _PAIR | {"messages", "label"}


def likeness(row: Mapping[str, Any]) -> tuple[float, str]:
    if picture_column(row):
        return 0.0, "the pictures that LLaMA-Factory and LLaVA read beside conversations"
    if row.keys() & {"kto_tag", *MEDIA_COLUMNS}:
        return (0.5 if "conversations" in row else 0.0), "columns that only LLaMA-Factory reads"
    for key, score in (("conversations", 1.0), ("messages", 0.9)):
        turns = row.get(key)
        if isinstance(turns, list) and turns and all(isinstance(turn, dict) for turn in turns):
            if any("from" in turn and "value" in turn for turn in turns):
                return score, f"{key} of turns with from and value"
            if key == "conversations" and any("role" in turn and "content" in turn for turn in turns):
                return 0.9, "conversations of turns with role and content"
    return 0.0, "there are no conversations"


class _PlainTurn(msgspec.Struct, forbid_unknown_fields=True):
    speaker: Literal["human", "gpt", "system"] = msgspec.field(name="from")
    value: str


class _PlainRow(msgspec.Struct, forbid_unknown_fields=True):
    conversations: list[_PlainTurn]


_plain = msgspec.json.Decoder(_PlainRow)


def read_format_row(line: bytes) -> Record:
    try:
        turns = _plain.decode(line).conversations
    except (msgspec.ValidationError, UnicodeDecodeError):
        return _read_any(decode_dataset_row(line))
    messages = [Message(ROLES[turn.speaker], turn.value) for turn in turns]
    if are_row_texts_fully_decoded(line, 2 + 8 * len(turns), [turn.value for turn in turns]):
        for message in messages:
            if message.role == "assistant":
                return Chat(messages)
    return _read_any(decode_dataset_row(line))


def _read_any(row: dict[str, Any]) -> Record:
    problems = RecordProblems()
    key = "messages" if "conversations" not in row and "messages" in row else "conversations"
    turns = problems.read_items(row, key)
    if not turns and not problems:
        problems.add(key, "is empty" if key in row else "is missing", "add the conversation's turns")
    messages = read_sharegpt_turns(turns, key, problems)
    system = problems.read_text(row, "system", "", required=False)
    if system:
        messages.insert(0, Message("system", system))
    tools = read_sharegpt_definitions(row, problems)
    if "chosen" in row and "rejected" in row:
        chosen = _read_answer(row, "chosen", problems)
        rejected = _read_answer(row, "rejected", problems)
        problems.raise_if_any()
        return Preference(messages, chosen, rejected, tools=tools, metadata=pick_unknown_row_keys(row, _PAIR | {key}))
    problems.require_answer(messages, key, "turn from gpt")
    if isinstance(row.get("label"), bool):
        problems.raise_if_any()
        return Labelled(
            messages, row["label"], tools=tools, metadata=pick_unknown_row_keys(row, KNOWN | {key, "label"})
        )
    problems.raise_if_any()
    return Chat(messages, tools=tools, metadata=pick_unknown_row_keys(row, KNOWN | {key}))


def read_sharegpt_turns(turns: list[Any], at: str, problems: RecordProblems) -> list[Message]:
    messages: list[Message] = []
    for index, turn in enumerate(turns):
        message = _read_turn(turn, f"{at}[{index}]", problems)
        if message is None:
            continue
        last = messages[-1] if messages else None
        if message.tool_calls and message.content is None and last is not None and last.role == "assistant":
            if last.content is not None and not last.tool_calls:
                message.content, message.extra = last.content, {**last.extra, **message.extra}
                message.weight = last.weight if message.weight is None else message.weight
                messages.pop()
        messages.append(message)
    if not problems and has_message_tool_calls(messages):
        drop_generated_call_ids(messages, openai_messages.ID_PREFIX)
    return messages


def _read_turn(turn: Any, at: str, problems: RecordProblems) -> Message | None:
    if not isinstance(turn, dict):
        problems.add(
            at, f"a turn must be an object, not {row_value_json_type(turn)}", 'write {"from": ..., "value": ...}'
        )
        return None
    who, text = ("from", "value") if "from" in turn else ("role", "content")
    speaker = turn.get(who)
    if not isinstance(speaker, str) or speaker not in ROLES:
        rule = "is missing" if speaker is None else f"{speaker!r} is not a speaker"
        problems.add(f"{at}.{who}", rule, "use human, gpt, system, function_call or observation")
        return None
    role = ROLES[speaker]
    if who == "role" and speaker != "function_call" and not isinstance(turn.get(text), str):
        return openai_messages.read_openai_message({**turn, "role": role}, at, problems)
    if who == "role" and ("tool_calls" in turn or "tool_call_id" in turn):
        return openai_messages.read_openai_message({**turn, "role": role}, at, problems)
    value = problems.read_text(turn, text, at)
    if value is None:
        return None
    message = Message(role, value, extra=pick_unknown_row_keys(turn, (*KNOWN_TURN, who, text)) if len(turn) > 2 else {})
    if speaker in ("function_call", "tool_call"):
        message.content, message.tool_calls = None, read_sharegpt_tool_calls(value, f"{at}.{text}", problems)
    weight = turn.get("weight")
    if isinstance(weight, int | float) and not isinstance(weight, bool):
        message.weight = float(weight)
    elif weight is not None:
        problems.add(f"{at}.weight", f"must be a number, not {row_value_json_type(weight)}", "use 0 or 1")
    return message


def _read_answer(row: Mapping[str, Any], key: str, problems: RecordProblems) -> list[Message]:
    value = row[key]
    if isinstance(value, str):
        return [Message("assistant", value)]
    if not isinstance(value, dict | list) or not value:
        problems.add(key, f"must be a turn, not {row_value_json_type(value)}", 'write {"from": "gpt", "value": ...}')
        return []
    messages = read_sharegpt_turns(value if isinstance(value, list) else [value], key, problems)
    if messages and not problems and not any(message.role == "assistant" for message in messages):
        problems.add(key, "is not an answer from gpt", 'write {"from": "gpt", "value": ...}')
    return messages


def read_sharegpt_definitions(row: Mapping[str, Any], problems: RecordProblems) -> list[Tool]:
    value = row.get("tools")
    if isinstance(value, str):
        try:
            value = msgspec.json.decode(value) if value.strip() else []
        except msgspec.DecodeError as error:
            problems.add("tools", f"is not JSON: {error}", "write a JSON list of definitions")
            return []
        for at, key in repeated_keys(row["tools"]):
            problems.add(f"tools{at}", f"has the key {key!r} twice", FIX)
    if value is not None and not isinstance(value, list):
        problems.add("tools", f"must be a list of definitions, not {row_value_json_type(value)}", "write it as [...]")
        return []
    return read_format_tools(value or [], problems)


def write_sharegpt_definitions(tools: list[Tool], lost: list[Unrepresentable]) -> str:
    return json.dumps([write_format_tool(tool, lost) for tool in tools], ensure_ascii=False)


def write_format_row(record: Record) -> Written:
    lost: list[Unrepresentable] = []
    row: dict[str, Any]
    if isinstance(record, Preference):
        row = {"conversations": write_sharegpt_turns(record.context, lost)}
        for key, answer in (("chosen", record.chosen), ("rejected", record.rejected)):
            turns = write_sharegpt_turns(answer, lost)
            row[key] = turns[0] if len(turns) == 1 else turns
    elif isinstance(record, Labelled):
        row = {"conversations": write_sharegpt_turns(record.messages, lost), "label": record.label}
    else:
        chat = chat_of_record(record, lost)
        if chat is None:
            return None, lost
        row = {"conversations": write_sharegpt_turns(chat.messages, lost)}
    if record.tools:
        row["tools"] = write_sharegpt_definitions(record.tools, lost)
    note_lost_parallel_calls(record, lost)
    note_lost_weight(record, lost)
    if record.metadata:
        restore_unknown_row_keys(row, record.metadata, _RESERVED, "", lost)
    return row, lost
