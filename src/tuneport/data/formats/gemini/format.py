"""Gemini, as tuned on Vertex AI: `{"systemInstruction": {"parts"}, "contents": [{"role", "parts"}], "tools": [...]}`.

Roles are user and model; a part is text, `thought` text, inlineData, fileData, a functionCall of the model, or a
functionResponse to it. A pair of answers is `completions` with the scores 1 and 0. Names in snake_case are read as
well. In a record each function response is a message of its own; consecutive ones are written as one content. A call
has an id only if the record has one. Source: Vertex AI's tuning data and the Gemini API's types.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

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
from tuneport.data.formats.gemini.contents import GeminiContentReader, gemini_called_functions
from tuneport.data.formats.gemini.writer import GeminiContentWriter
from tuneport.data.formats.openai.messages import ID_PREFIX, check_openai_tool_results
from tuneport.data.formats.shared.tools import drop_generated_call_ids, read_format_tool, write_format_tool
from tuneport.data.rows.records import Chat, Message, Preference, Record, Tool

NAME = "gemini"
_KNOWN = frozenset(("systemInstruction", "system_instruction", "contents", "tools", "completions"))


def likeness(row: Mapping[str, Any]) -> tuple[float, str]:
    contents = row.get("contents")
    if isinstance(contents, list) and any(isinstance(content, dict) and "parts" in content for content in contents):
        return 1.0, "contents of parts"
    return 0.0, "there are no contents of parts"


def read_format_row(line: bytes) -> Record:
    row = decode_dataset_row(line)
    problems = RecordProblems()
    reader = GeminiContentReader(line, problems)
    messages = []
    key = "systemInstruction" if "systemInstruction" in row else "system_instruction"
    if key in row:
        messages.append(reader.system(row[key], key))
    contents = problems.read_items(row, "contents")
    if not contents and not problems:
        problems.add("contents", "is empty" if "contents" in row else "is missing", "add the conversation")
    for index, content in enumerate(contents):
        messages += reader.content(content, ("contents", index))
    tools = _read_tools(row, problems)
    rest = pick_unknown_row_keys(row, (key, "contents", "tools", "completions"))
    if "completions" in row:
        answers = _read_completions(row, reader, problems)
        problems.raise_if_any()
        gemini_called_functions(messages, read=True)
        return Preference(messages, answers[1.0], answers[0.0], tools=tools, metadata=rest)
    if messages:
        problems.require_answer(messages, "contents", "content of the model")
    if not problems:
        check_openai_tool_results(messages, "contents", problems)
    problems.raise_if_any()
    gemini_called_functions(messages, read=True)
    drop_generated_call_ids(messages, ID_PREFIX)
    return Chat(messages, tools=tools, metadata=rest)


def _read_completions(
    row: Mapping[str, Any], reader: GeminiContentReader, problems: RecordProblems
) -> dict[float, list[Message]]:
    answers: dict[float, list[Message]] = {}
    for index, value in enumerate(problems.read_items(row, "completions")):
        score = value.get("score") if isinstance(value, dict) else None
        if score not in (0, 1) or float(score) in answers:
            problems.add(f"completions[{index}].score", "must be 1 for one answer and 0 for the other", "correct it")
            continue
        answers[float(score)] = reader.content(value.get("completion"), ("completions", index, "completion"))
        unknown = pick_unknown_row_keys(value, ("score", "completion"))
        if unknown:
            problems.add(f"completions[{index}].{next(iter(unknown))}", "is not a key of an answer", "remove it")
    if len(answers) < 2 and not problems:
        problems.add("completions", "must be two answers", "give one with the score 1 and one with 0")
    return answers


def _read_tools(row: Mapping[str, Any], problems: RecordProblems) -> list[Tool]:
    tools: list[Tool] = []
    for index, value in enumerate(problems.read_items(row, "tools")):
        at = f"tools[{index}]"
        if not isinstance(value, dict):
            problems.add(
                at, f"must be an object, not {row_value_json_type(value)}", 'write {"functionDeclarations": [...]}'
            )
            continue
        key = "functionDeclarations" if "functionDeclarations" in value else "function_declarations"
        if key not in value or len(value) > 1:
            problems.add(at, "only functionDeclarations are supported", "remove other tools")
        for number, declared in enumerate(problems.read_items(value, key, at)):
            tool = read_format_tool(declared, f"{at}.{key}[{number}]", problems)
            tools += [] if tool is None else [tool]
    return tools


def write_format_row(record: Record) -> Written:
    lost: list[Unrepresentable] = []
    row: dict[str, Any] = {}
    if isinstance(record, Preference):
        if any(len(answer) != 1 or answer[0].role != "assistant" for answer in (record.chosen, record.rejected)):
            return None, [Unrepresentable("", "an answer is not exactly one message of the model")]
        messages = record.context
        if not messages or messages[-1].role == "assistant":
            return None, [Unrepresentable("", "a pair needs a context that does not end with the model")]
    else:
        chat = chat_of_record(record, lost)
        if chat is None:
            return None, lost
        messages = chat.messages
    writer = GeminiContentWriter(lost)
    messages = writer.prepared(messages)
    if messages and messages[0].role == "system":
        row["systemInstruction"] = writer.system(messages[0])
        messages = messages[1:]
    row["contents"] = writer.contents(messages)
    if isinstance(record, Preference):
        row["completions"] = [
            {"score": score, "completion": writer.contents(writer.prepared(answer))[0]}
            for score, answer in ((1.0, record.chosen), (0.0, record.rejected))
        ]
    if record.tools:
        row["tools"] = [{"functionDeclarations": [_write_tool(tool, lost) for tool in record.tools]}]
    note_lost_parallel_calls(record, lost)
    note_lost_weight(record, lost)
    restore_unknown_row_keys(row, record.metadata, _KNOWN, "", lost)
    return row, lost


def _write_tool(tool: Tool, lost: list[Unrepresentable]) -> dict[str, Any]:
    row = write_format_tool(tool, lost)
    if row.pop("strict", None) is not None:
        lost.append(Unrepresentable("tools[].strict", "a declaration has no such setting"))
    return row


def note_row_spelling(line: bytes) -> str:
    return (
        "names in snake_case are read as those in camelCase" if b'_instruction"' in line or b"function_" in line else ""
    )
