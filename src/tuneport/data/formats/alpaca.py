"""Alpaca: `{"instruction", "input", "output"}`, optionally `system` and `history` (pairs of question and answer).

The question is the instruction and, where there is one, the input after a newline, as LLaMA-Factory joins them: that
text is what is trained on, so the boundary is no part of the record, and the whole is written as the instruction.
With `chosen` and `rejected` in place of `output` a row is a preference pair.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import msgspec

from tuneport.data.formats.contract import (
    RecordProblems,
    Unrepresentable,
    Written,
    chat_of_record,
    decode_dataset_row,
    pick_unknown_row_keys,
    restore_unknown_row_keys,
    row_value_json_type,
)
from tuneport.data.formats.flat import note_lost_settings, plain_text, reduce_to_exchange, text_messages
from tuneport.data.formats.shared.media import MEDIA_COLUMNS, picture_column
from tuneport.data.rows.records import Chat, Message, Preference, Record
from tuneport.data.rows.repeated_keys import are_row_texts_fully_decoded

NAME = "alpaca"
KNOWN = frozenset(("instruction", "input", "output", "system", "history"))
PAIR = frozenset(("instruction", "input", "chosen", "rejected", "system", "history"))


_INPUT = re.compile(rb'"input"\s*:\s*"[^"]')


class _PlainRow(msgspec.Struct, forbid_unknown_fields=True):
    instruction: str
    output: str
    input: str | msgspec.UnsetType = msgspec.UNSET


_plain = msgspec.json.Decoder(_PlainRow)


def likeness(row: Mapping[str, Any]) -> tuple[float, str]:
    if isinstance(row.get("instruction"), str):
        if picture_column(row):
            return 0.0, "the pictures that LLaMA-Factory reads beside an instruction"
        if row.keys() & {"kto_tag", *MEDIA_COLUMNS}:
            return 0.5, "an instruction beside columns that only LLaMA-Factory reads"
        if isinstance(row.get("output"), str):
            return 1.0, "an instruction and an output"
        if isinstance(row.get("chosen"), str) and isinstance(row.get("rejected"), str):
            return 1.0, "an instruction with a chosen and a rejected answer"
    return 0.0, "there are no instruction and output of text"


def read_format_row(line: bytes) -> Record:
    try:
        plain = _plain.decode(line)
    except (msgspec.ValidationError, UnicodeDecodeError):
        return _read_any(decode_dataset_row(line))
    added = plain.input or ""
    quotes = 8 if plain.input is msgspec.UNSET else 12
    if not are_row_texts_fully_decoded(line, quotes, (plain.instruction, added, plain.output)):
        return _read_any(decode_dataset_row(line))
    return Chat([Message("user", _question(plain.instruction, added)), Message("assistant", plain.output)])


def _question(instruction: str, text: str) -> str:
    return f"{instruction}\n{text}" if instruction and text else instruction or text


def _read_any(row: dict[str, Any]) -> Record:
    problems = RecordProblems()
    instruction = problems.read_text(row, "instruction", "") or ""
    question = _question(instruction, problems.read_text(row, "input", "", required=False) or "")
    system = problems.read_text(row, "system", "", required=False)
    pairs = _read_history(row, problems)
    if "output" not in row and "chosen" in row and "rejected" in row:
        chosen, rejected = problems.read_text(row, "chosen", ""), problems.read_text(row, "rejected", "")
        problems.raise_if_any()
        context = [*text_messages(system, pairs), Message("user", question)]
        answers = [Message("assistant", chosen)], [Message("assistant", rejected)]
        return Preference(context, *answers, metadata=pick_unknown_row_keys(row, PAIR))
    output = problems.read_text(row, "output", "") or ""
    problems.raise_if_any()
    return Chat(text_messages(system, [*pairs, (question, output)]), metadata=pick_unknown_row_keys(row, KNOWN))


def _read_history(row: Mapping[str, Any], problems: RecordProblems) -> list[tuple[str, str]]:
    pairs: list[tuple[str, str]] = []
    for index, pair in enumerate(problems.read_items(row, "history")):
        if isinstance(pair, list) and len(pair) == 2 and all(isinstance(text, str) for text in pair):
            pairs.append((pair[0], pair[1]))
        else:
            rule = f"must be a question and its answer, not {row_value_json_type(pair)}"
            problems.add(f"history[{index}]", rule, 'write ["question", "answer"]')
    return pairs


def write_format_row(record: Record) -> Written:
    lost: list[Unrepresentable] = []
    answers: dict[str, str] = {}
    if isinstance(record, Preference) and _holds_pair(record):
        answers = {"chosen": plain_text(record.chosen[0], lost), "rejected": plain_text(record.rejected[0], lost)}
        messages = [*record.context, Message("assistant", answers["chosen"])]
    else:
        chat = chat_of_record(record, lost)
        if chat is None:
            return None, lost
        messages = chat.messages
    exchange = reduce_to_exchange(messages, lost)
    if exchange is None:
        return None, lost
    row: dict[str, Any] = {"instruction": exchange.question, "input": "", **(answers or {"output": exchange.answer})}
    if exchange.system:
        row["system"] = exchange.system
    elif exchange.system is not None:
        lost.append(Unrepresentable("messages[].content", "an empty system prompt is the same as none"))
    if exchange.history:
        row["history"] = [list(pair) for pair in exchange.history]
    note_lost_settings(record, lost)
    if record.metadata:
        restore_unknown_row_keys(row, record.metadata, KNOWN | PAIR, "", lost)
    return row, lost


def _holds_pair(record: Preference) -> bool:
    one_each = len(record.chosen) == len(record.rejected) == 1
    return one_each and bool(record.context) and record.context[-1].role == "user"


def note_row_spelling(line: bytes) -> str:
    return "instruction and input are joined by a newline" if _INPUT.search(line) else ""
