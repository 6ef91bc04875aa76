"""The contract of a format: a module with `NAME`, `likeness`, `read_format_row`, `write_format_row` and
`note_row_spelling`; and the words that formats share.

The promise of `write_format_row`: if it reports nothing lost, reading the row back gives an equal record. A format
therefore either holds a thing exactly or says that it does not.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import msgspec
from msgspec import structs

from tuneport.data.rows.records import Chat, Graded, Labelled, Message, PlainText, Preference, PromptCompletion, Record
from tuneport.data.rows.repeated_keys import FIX, is_row_fully_decoded, repeated_keys

NO_PARAMETERS = {"type": "object"}
"""The schema of a tool without one, for formats that need one."""


class Problem(NamedTuple):
    """An error within one record. `field` is a path such as `messages[2].content`; "" is the record itself."""

    field: str
    rule: str
    fix: str


class InvalidRecord(Exception):
    """A row that is JSON and not a record of the format. It holds all that is wrong with the row."""

    def __init__(self, *problems: Problem) -> None:
        self.problems = list(problems)
        super().__init__(f"{problems[0].field}: {problems[0].rule}")


class Unrepresentable(NamedTuple):
    """Something of one record that a format cannot hold. `field` is a path without indexes: `messages[].weight`."""

    field: str
    reason: str


Written = tuple[dict[str, Any] | None, list[Unrepresentable]]
"""A row and what it lacks. The row is None if the format cannot hold such a record."""


class DatasetFormat(Protocol):
    NAME: str

    def likeness(self, row: Mapping[str, Any]) -> tuple[float, str]:
        """Return how much the row looks like this format, and why: 0 cannot be, 1 can be nothing else."""

    def read_format_row(self, line: bytes) -> Record:
        """Decode one row of JSON. Raises InvalidRecord that lists all that is wrong, or msgspec.DecodeError if it is
        not JSON."""

    def write_format_row(self, record: Record) -> Written: ...

    def note_row_spelling(self, line: bytes) -> str:
        """Return what reading changes in the spelling of this row, without changing what is trained on; "" if
        nothing."""


def note_row_spelling(line: bytes) -> str:
    """Return the note of a format whose rows are read as they are spelt."""
    return ""


def decode_dataset_row(line: bytes) -> dict[str, Any]:
    """Return the row without its top-level nulls: in a file, a null is the same as an absent key.

    Raises InvalidRecord if it is not an object, or an object has a key twice.
    """
    row = msgspec.json.decode(line)
    if not isinstance(row, dict):
        raise InvalidRecord(
            Problem("", f"a record must be a JSON object, not {row_value_json_type(row)}", "write {...} on each line")
        )
    if not is_row_fully_decoded(line, row):
        twice = repeated_keys(line)
        if twice:
            raise InvalidRecord(*(Problem(at, f"has the key {key!r} twice", FIX) for at, key in twice))
    return {key: value for key, value in row.items() if value is not None}


def row_value_json_type(value: object) -> str:
    """Return the JSON type of a value, as text."""
    match value:
        case None:
            return "null"
        case bool():
            return "true or false"
        case str():
            return "text"
        case int() | float():
            return "a number"
        case list():
            return "a list"
    return "an object"


class RecordProblems(list[Problem]):
    """Collects what is wrong with one record, and reads values on the way."""

    def add(self, field: str, rule: str, fix: str) -> None:
        self.append(Problem(field, rule, fix))

    def read_text(self, row: Mapping[str, Any], key: str, at: str, *, required: bool = True) -> str | None:
        """Return the string under `key`, or None with a problem if it is missing though required, or of another
        type."""
        value = row.get(key)
        field = f"{at}.{key}" if at else key
        if isinstance(value, str):
            return value
        if value is not None:
            self.add(field, f"must be text, not {row_value_json_type(value)}", "write it as a JSON string")
        elif required:
            self.add(field, "is missing", f'add "{key}" with its text')
        return None

    def read_items(self, row: Mapping[str, Any], key: str, at: str = "") -> list[Any]:
        """Return the list under `key`; empty, with a problem if it is something else. An absent one is empty."""
        value = row.get(key)
        if value is None or isinstance(value, list):
            return value or []
        self.add(f"{at}.{key}" if at else key, f"must be a list, not {row_value_json_type(value)}", "write it as [...]")
        return []

    def require_answer(self, messages: Sequence[Message], field: str, missing: str = "assistant message") -> None:
        """Add a problem if none of the messages is an answer; not if something else is wrong already."""
        if not self and not any(message.role == "assistant" for message in messages):
            self.add(field, f"there is no {missing}, so nothing to train on", "add the answer")

    def raise_if_any(self) -> None:
        if self:
            raise InvalidRecord(*self)


def pick_unknown_row_keys(row: Mapping[str, Any], known: Collection[str]) -> dict[str, Any]:
    """Return the keys that a format does not know, nulls left out."""
    if len(row) <= len(known) and all(key in known for key in row):
        return {}
    return {key: value for key, value in row.items() if key not in known and value is not None}


def restore_unknown_row_keys(
    row: dict[str, Any], rest: Mapping[str, Any], known: Collection[str], field: str, lost: list[Unrepresentable]
) -> None:
    """Write back what `pick_unknown_row_keys` kept, except keys that mean something else in this format."""
    for key, value in rest.items():
        if key in known or key in row:
            lost.append(Unrepresentable(f"{field}{key}", "the format uses this key for something else"))
        else:
            row[key] = value


def note_lost_parallel_calls(record: Record, lost: list[Unrepresentable]) -> None:
    if record.parallel_tool_calls is not None:
        lost.append(Unrepresentable("parallel_tool_calls", "there is no such setting"))


def note_lost_weight(record: Record, lost: list[Unrepresentable]) -> None:
    if record.weight is not None:
        lost.append(Unrepresentable("weight", "a record has no weight of its own"))


def chat_of_record(record: Record, lost: list[Unrepresentable]) -> Chat | None:
    """Return the record as a chat, for formats that hold nothing else, or None if it cannot be read as one.

    A prompt and its completion are the same as a question and its answer, so that is not a loss.
    """
    common = {
        "tools": record.tools,
        "parallel_tool_calls": record.parallel_tool_calls,
        "weight": record.weight,
        "metadata": record.metadata,
    }
    match record:
        case Chat():
            return record
        case PromptCompletion():
            return Chat(question_and_answer(record.prompt, record.completion), **common)  # type: ignore[arg-type]
        case Preference():
            lost.append(Unrepresentable("rejected", "it cannot hold a rejected answer; only the chosen one is kept"))
            return Chat(record.context + record.chosen, **common)  # type: ignore[arg-type]
        case Labelled() if record.label:
            lost.append(Unrepresentable("label", "it cannot hold a verdict on the answer"))
            return Chat(record.messages, **common)  # type: ignore[arg-type]
        case Labelled():
            lost.append(Unrepresentable("", "the answer is marked as bad and this format would train towards it"))
            return None
        case Graded():
            lost.append(Unrepresentable("", "the row has no answer to train towards; use it with the method rft"))
            return None
        case PlainText():
            lost.append(Unrepresentable("", "plain text has no turns"))
            return None


def question_and_answer(question: str, answer: str) -> list[Message]:
    return [Message("user", question), Message("assistant", answer)]


def is_equivalent_record(one: Record, other: Record) -> bool:
    """Return whether two records mean the same: a prompt with its completion is a question with its answer, and a tool
    without parameters takes an object without further rules."""
    return _plain(one) == _plain(other)


def row_round_trips(read: Callable[[bytes], Record], row: dict[str, Any], record: Record) -> bool:
    """Return whether the row that was written for the record is read as the same record."""
    try:
        return is_equivalent_record(read(msgspec.json.encode(row)), record)
    except InvalidRecord:
        return False


def _plain(record: Record) -> Record | None:
    chat = chat_of_record(record, []) if isinstance(record, PromptCompletion) else record
    tools = getattr(chat, "tools", None)
    if chat is None or not tools:
        return chat
    told = [NO_PARAMETERS if tool.parameters is None else tool.parameters for tool in tools]
    same = [structs.replace(tool, parameters=schema) for tool, schema in zip(tools, told, strict=True)]
    return structs.replace(chat, tools=same)
