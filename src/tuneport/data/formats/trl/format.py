"""TRL's dataset types, conversational and plain:

- language modelling: `{"messages": [...]}` or `{"text": ...}`
- prompt and completion: `{"prompt", "completion"}`, of which only the completion is trained on
- preference: `{"prompt", "chosen", "rejected"}`, or without the prompt, which is then what both answers begin with
- unpaired preference: `{"prompt", "completion", "label"}`

and `tools` as a list of definitions. TRL has no weights of messages, but a prompt and completion says the same as a
conversation with a weight of 0 on the answers in the prompt and 1 on the others, and is read and written as that; so
a dataset in which only some records have weights is written with both sets of columns, which trainers do not take.
A plain text as a prompt is read as a user's message, as an answer as the assistant's, and written conversational.
Source: TRL 1.16, data_utils.py and the trainers; parts and calls are spelled as in trl_messages.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeGuard

from tuneport.data.formats import text
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
)
from tuneport.data.formats.openai import messages as chat
from tuneport.data.formats.openai.format import foreign_to_openai, write_openai_tools
from tuneport.data.formats.pairs import split_preference_pair
from tuneport.data.formats.shared.media import (
    columns_beside_messages,
    has_media_mark,
    has_verdict_column,
    is_picture,
    picture_column,
)
from tuneport.data.formats.shared.tools import drop_generated_call_ids
from tuneport.data.formats.sharegpt.format import read_sharegpt_definitions
from tuneport.data.formats.trl.messages import TrlReader, write_trl_messages
from tuneport.data.rows.records import Chat, Graded, Labelled, Message, PlainText, Preference, PromptCompletion, Record

NAME = "trl"
_COLUMNS = frozenset(("messages", "text", "prompt", "completion", "chosen", "rejected", "label", "tools", "images"))
_SIDES = ("prompt", "completion", "chosen", "rejected")


def likeness(row: Mapping[str, Any]) -> tuple[float, str]:
    sides = {key for key in _SIDES if _is_side(row.get(key))}
    if {"chosen", "rejected"} <= sides and not row.keys() & {"conversations", "instruction"}:
        return 1.0, "a chosen and a rejected answer, which end the prompt or contain it"
    if {"prompt", "completion"} <= sides:
        if isinstance(row.get("label"), bool):
            return 1.0, "a prompt and a completion with a label"
        if isinstance(row["prompt"], list) or isinstance(row["completion"], list):
            return 1.0, "a prompt and a completion of messages"
        return 0.8, "a prompt and a completion of text, which prompt-completion has as well"
    messages = row.get("messages")
    if columns_beside_messages(row) and (has_verdict_column(row) or has_media_mark(row)):
        return 0.0, "the marks or the verdict that LLaMA-Factory reads beside messages"
    if _is_messages(messages) and all(message.get("role") in chat.ROLES for message in messages):
        if any("loss_weight" in message for message in messages) or isinstance(row.get("system"), str | list):
            return 0.0, "there are keys of other formats with messages"
        foreign = [message for message in messages if foreign_to_openai(message)]
        if foreign and all(_for_templates(message) for message in foreign):
            return 1.0, "messages with parts or calls as chat templates take them"
        if not foreign:
            return 0.8, "messages with role and content, which openai has as well"
    if text.likeness(row)[0]:
        return 0.4, "a text, which the format text has as well"
    return 0.0, "the columns match no dataset type"


def _is_messages(value: Any) -> TypeGuard[list[dict[str, Any]]]:
    return isinstance(value, list) and bool(value) and all(isinstance(item, dict) and "role" in item for item in value)


def _is_side(value: Any) -> bool:
    return isinstance(value, str) or _is_messages(value)


def _for_templates(message: Mapping[str, Any]) -> bool:
    """Return whether its parts are text and images, without Anthropic's source and LLaMA-Factory's value."""
    content = message.get("content")
    parts = [part for part in content if isinstance(part, dict)] if isinstance(content, list) else []
    types = ("text", "image", "image_url")
    return all(part.get("type") in types and not part.keys() & {"source", "value"} for part in parts)


def read_format_row(line: bytes) -> Record:
    row = decode_dataset_row(line)
    problems = RecordProblems()
    reader = TrlReader(line, row, problems)
    tools = read_sharegpt_definitions(row, problems)
    record: Record
    if "messages" in row:
        used: tuple[str, ...] = ("messages",)
        record = Chat(reader.messages("messages"))
        problems.require_answer(record.messages, "messages")
    elif "chosen" in row or "rejected" in row:
        used = ("prompt", "chosen", "rejected")
        record = _read_pair(row, reader, problems)
    elif "completion" in row or "prompt" in row:
        used = ("prompt", "completion", "label")
        record = _read_completion(row, reader, problems)
    else:
        used = ("text",)
        record = PlainText(problems.read_text(row, "text", "") or "")
    reader.end()
    problems.raise_if_any()
    record.tools, record.metadata = tools, pick_unknown_row_keys(row, (*used, "tools", "images", picture_column(row)))
    return record


def _read_completion(row: Mapping[str, Any], reader: TrlReader, problems: RecordProblems) -> Record:
    if "label" not in row and isinstance(row.get("prompt"), str) and isinstance(row.get("completion"), str):
        return PromptCompletion(row["prompt"], row["completion"])
    prompt, completion = reader.side("prompt", "user"), reader.side("completion", "assistant")
    problems.require_answer(completion, "completion")
    if isinstance(row.get("label"), bool):
        return Labelled(_without_ids([*prompt, *completion]), row["label"])
    if "label" in row:
        problems.add("label", "must be true or false", "mark the completion as good (true) or bad (false)")
    for messages, weight in ((prompt, 0.0), (completion, 1.0)):
        for message in messages:
            message.weight = weight if message.role == "assistant" else None
    return Chat(_without_ids([*prompt, *completion]))


def _read_pair(row: Mapping[str, Any], reader: TrlReader, problems: RecordProblems) -> Preference:
    answers = [row.get("chosen"), row.get("rejected")]
    whole = all(isinstance(answer, list) for answer in answers) and not isinstance(row.get("prompt"), list)
    if not whole and "prompt" not in row and all(isinstance(answer, str) for answer in answers):
        prompt, good, bad = split_trl_text(*answers)  # type: ignore[arg-type]
        return Preference([Message("user", prompt)], [Message("assistant", good)], [Message("assistant", bad)])
    chosen, rejected = reader.side("chosen", "assistant"), reader.side("rejected", "assistant")
    for key, messages in (("chosen", chosen), ("rejected", rejected)):
        problems.require_answer(messages, key)
    if not whole:
        return Preference(_without_ids(reader.side("prompt", "user")), chosen, rejected)
    context, chosen, rejected = split_preference_pair(chosen, rejected)
    repeated = row.get("prompt")
    if repeated is not None and not any(message.content == repeated for message in context):
        problems.add("prompt", "is in none of the messages that chosen and rejected begin with", "correct or remove it")
    return Preference(_without_ids(context), chosen, rejected)


def split_trl_text(chosen: str, rejected: str) -> tuple[str, str, str]:
    """Return the common prompt of two texts, and the rest of each: TRL's extract_prompt, which leaves a space before
    the point of difference to the answers."""
    place = 0
    while place < min(len(chosen), len(rejected)) - 1 and chosen[place] == rejected[place]:
        place += 1
    if place and chosen[place - 1] == " ":
        place -= 1
    return chosen[:place], chosen[place:], rejected[place:]


def _without_ids(messages: list[Message]) -> list[Message]:
    drop_generated_call_ids(messages, chat.ID_PREFIX)
    return messages


def write_format_row(record: Record) -> Written:
    lost: list[Unrepresentable] = []
    row: dict[str, Any] = {}
    match record:
        case PlainText():
            row["text"] = record.text
        case PromptCompletion():
            row |= {"prompt": record.prompt, "completion": record.completion}
        case Preference():
            sides = {"prompt": record.context, "chosen": record.chosen, "rejected": record.rejected}
            if not record.chosen or not record.rejected:
                return None, [Unrepresentable("", "an answer of the pair is empty")]
            _write_sides(row, sides, lost)
        case Labelled():
            cut = _start_of_answer(record.messages)
            _write_sides(row, {"prompt": record.messages[:cut], "completion": record.messages[cut:]}, lost)
            row["label"] = record.label
        case Graded():
            chat_of_record(record, lost)
            return None, lost
        case Chat():
            _write_chat(row, record, lost)
    if row.get("prompt") == [] or row.get("completion") == []:
        return None, [Unrepresentable("", "there is no prompt before the answer, or no answer")]
    if isinstance(row.get("prompt"), list) and row["prompt"][-1]["role"] == "system":
        return None, [Unrepresentable("", "a prompt must not end with the system prompt")]
    if record.tools:
        row["tools"] = write_openai_tools(record.tools, lost)
    note_lost_parallel_calls(record, lost)
    note_lost_weight(record, lost)
    picture = {"image"} if is_picture(record.metadata.get("image")) else set()
    restore_unknown_row_keys(row, record.metadata, _COLUMNS | picture, "", lost)
    return row, lost


def _write_chat(row: dict[str, Any], record: Chat, lost: list[Unrepresentable]) -> None:
    weights = [message.weight for message in record.messages if message.role == "assistant"]
    cut = next((i for i, message in enumerate(record.messages) if message.weight), 0)
    zeros = weights.count(0)
    if cut and weights == [0] * zeros + [1] * (len(weights) - zeros) and record.messages[cut - 1].role != "assistant":
        sides = {"prompt": record.messages[:cut], "completion": record.messages[cut:]}
        row |= {key: write_trl_messages(messages, lost, weighted=True) for key, messages in sides.items()}
    else:
        row["messages"] = write_trl_messages(record.messages, lost)


def _write_sides(row: dict[str, Any], sides: Mapping[str, list[Message]], lost: list[Unrepresentable]) -> None:
    for key, messages in sides.items():
        row[key] = write_trl_messages(messages, lost)


def _start_of_answer(messages: list[Message]) -> int:
    """Return the index where the last answer begins: its first assistant message after a user, a tool or a system
    prompt."""
    cut = max((i for i, message in enumerate(messages) if message.role == "assistant"), default=len(messages))
    while cut and cut < len(messages) and messages[cut - 1].role == "assistant":
        cut -= 1
    return cut


def note_row_spelling(line: bytes) -> str:
    if not any(key in line for key in (b'"images"', b'"chosen"', b'"label"')):
        return ""
    row = decode_dataset_row(line)
    if "images" in row:
        return "images of their own column are read as parts of the messages"
    if isinstance(row.get("chosen"), str) or ("label" in row and isinstance(row.get("completion"), str)):
        return "plain prompts and answers are read as messages of the user and the assistant"
    if "chosen" in row and not isinstance(row.get("prompt"), list):
        return "the prompt is what chosen and rejected begin with"
    return ""
