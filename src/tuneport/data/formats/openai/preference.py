"""OpenAI preference pairs: `{"input": {"messages", "tools", "parallel_tool_calls"}, "preferred_output": [message],
"non_preferred_output": [message]}`, each output exactly one assistant message. Pairs are text only.

Source: OpenAI's preference fine-tuning guide, which the API and Together follow; the published line schema's names
(`preferred_completion`) are wrong.
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
    row_value_json_type,
)
from tuneport.data.formats.contract import note_row_spelling as note_row_spelling
from tuneport.data.formats.openai import messages as chat
from tuneport.data.formats.openai.format import (
    read_openai_definitions,
    read_openai_parallel_calls,
    write_openai_tool_settings,
)
from tuneport.data.formats.shared.tools import add_message_call_ids, count_message_tool_calls, drop_generated_call_ids
from tuneport.data.rows.records import Message, Preference, Record

NAME = "openai-preference"
KNOWN = frozenset(("input", "preferred_output", "non_preferred_output"))
_INPUT = frozenset(("messages", "tools", "functions", "parallel_tool_calls"))


def likeness(row: Mapping[str, Any]) -> tuple[float, str]:
    if "preferred_output" in row and "non_preferred_output" in row:
        if "weight" in row:
            return 0.9, "a preference pair, and a weight of the row, which is a mere column here"
        return 1.0, "an input with preferred_output and non_preferred_output"
    return 0.0, "there are no preferred and non-preferred outputs"


def read_format_row(line: bytes) -> Record:
    row = decode_dataset_row(line)
    problems = RecordProblems()
    given = row.get("input")
    if not isinstance(given, dict):
        problems.add("input", f"must be an object, not {row_value_json_type(given)}", 'write {"messages": [...]}')
        given = {"messages": [None]}
    values = problems.read_items(given, "messages", "input")
    if not values:
        problems.add("input.messages", "is empty", "add the conversation up to the answer")
    context = chat.read_openai_messages(values, "input.messages", problems) if not problems else []
    chosen = _read_output(row, "preferred_output", problems)
    rejected = _read_output(row, "non_preferred_output", problems)
    tools = read_openai_definitions(given, "input", problems)
    parallel = read_openai_parallel_calls(given, "input", problems)
    unknown = pick_unknown_row_keys(given, _INPUT)
    if unknown:
        problems.add(f"input.{next(iter(unknown))}", "is not a key of an input", "remove it")
    if not problems:
        chat.check_openai_tool_results(context, "input.messages", problems)
    problems.raise_if_any()
    strip_answer_call_ids(context, chosen, rejected)
    return Preference(
        context, chosen, rejected, tools=tools, parallel_tool_calls=parallel, metadata=pick_unknown_row_keys(row, KNOWN)
    )


def strip_answer_call_ids(context: list[Message], chosen: list[Message], rejected: list[Message]) -> None:
    """Remove the ids of the answers: each answer continues the context's numbering by itself."""
    start = count_message_tool_calls(context)
    drop_generated_call_ids(context, chat.ID_PREFIX)
    for answer in (chosen, rejected):
        drop_generated_call_ids(answer, chat.ID_PREFIX, start)


def _read_output(row: Mapping[str, Any], key: str, problems: RecordProblems) -> list[Message]:
    values = problems.read_items(row, key)
    messages = chat.read_openai_messages(values, key, problems)
    if not problems and (len(messages) != 1 or messages[0].role != "assistant"):
        problems.add(key, "must be exactly one assistant message", "keep one message of the role assistant")
    return messages


def write_format_row(record: Record) -> Written:
    lost: list[Unrepresentable] = []
    if not isinstance(record, Preference):
        return None, [Unrepresentable("", "there is no rejected answer")]
    for name, answer in (("chosen", record.chosen), ("rejected", record.rejected)):
        if len(answer) != 1 or answer[0].role != "assistant":
            return None, [Unrepresentable("", f"the {name} answer is not exactly one assistant message")]
    start = count_message_tool_calls(record.context)
    context = add_message_call_ids(record.context, chat.ID_PREFIX, lost)
    given: dict[str, Any] = {"messages": chat.write_openai_messages(context, lost, shown_by=())}
    row: dict[str, Any] = {"input": given}
    for key, answer in (("preferred_output", record.chosen), ("non_preferred_output", record.rejected)):
        row[key] = chat.write_openai_messages(
            add_message_call_ids(answer, chat.ID_PREFIX, lost, start), lost, shown_by=()
        )
    write_openai_tool_settings(record, given, lost)
    note_lost_weight(record, lost)
    restore_unknown_row_keys(row, record.metadata, KNOWN, "", lost)
    return row, lost
