"""The answers of two systems to the same prompts, as a file that a program or a person can write.

One JSON object a line. The first may name the two systems; without it they are called A and B:

    {"systems": {"a": "gpt-4o-mini", "b": "job-06bbcaf1cf44"}}
    {"prompt": "Where is my parcel?", "answer_a": "I do not know.", "answer_b": "It left on Monday."}
    {"id": "ticket-17", "prompt": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hello?"}],
     "answer_a": "Hi.", "answer_b": {"role": "assistant", "tool_calls": [...]}, "reference": "Good morning!"}

`prompt` is a text or OpenAI's messages; an answer is a text, which may be empty, or an assistant message; `reference`
(a text) and `id` may be left out. Which system is `a` is for the file's writer alone: a rater sees left and right.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from hashlib import blake2b
from pathlib import Path
from typing import Any, Literal

import msgspec

from tuneport.data.containers.bad_row import BadRow, unreadable_file_error
from tuneport.data.containers.source import RowSource
from tuneport.data.formats.contract import (
    InvalidRecord,
    Problem,
    RecordProblems,
    decode_dataset_row,
    row_value_json_type,
)
from tuneport.data.formats.openai.messages import read_openai_message, read_openai_messages
from tuneport.data.rows.records import Message
from tuneport.data.running.writing import publish_output_file, temporary_file
from tuneport.errors import DatasetError, DatasetProblem

System = Literal["a", "b"]
_KEYS = ("id", "prompt", "answer_a", "answer_b", "reference")
_KEY_BYTES = 12
_PROBLEMS_TOLD = 20


@dataclass(frozen=True)
class PromptTurn:
    """A message of the prompt, as text."""

    role: str
    text: str


@dataclass(frozen=True)
class RatersAnswerPair:
    """`key` stands for the content: a judgement holds as long as prompt and answers are what was judged. `id` is the
    row's own, or its line."""

    key: str
    id: str
    prompt: tuple[PromptTurn, ...]
    a: str
    b: str
    reference: str | None = None

    @property
    def differs(self) -> bool:
        """Return whether the two answers differ; equal ones need no rating."""
        return self.a.strip() != self.b.strip()


@dataclass(frozen=True)
class RatersAnswerSet:
    """`names`: of the systems, for those who read the results; no rater is shown them."""

    path: Path
    names: dict[System, str]
    pairs: tuple[RatersAnswerPair, ...]

    @property
    def pairs_to_judge(self) -> list[RatersAnswerPair]:
        return [pair for pair in self.pairs if pair.differs]

    @property
    def identical(self) -> list[RatersAnswerPair]:
        return [pair for pair in self.pairs if not pair.differs]

    def sample(self, size: int, *, seed: int = 0) -> RatersAnswerSet:
        """Draw `size` pairs to judge, the same for every rater, beside the identical ones.

        The same seed draws the same pairs, a larger sample contains a smaller one, and rows added later replace few.
        """

        def draw(pair: RatersAnswerPair) -> bytes:
            return blake2b(f"sample\0{seed}\0{pair.key}".encode(), digest_size=_KEY_BYTES).digest()

        chosen = {pair.key for pair in sorted(self.pairs_to_judge, key=draw)[:size]}
        return replace(self, pairs=tuple(pair for pair in self.pairs if pair.key in chosen or not pair.differs))

    def naming(self) -> list[RatersAnswerPair]:
        """Return the pairs whose answers name a system, so that a rater could tell them apart."""
        names = [name.casefold() for name in self.names.values() if len(name) > 2]
        return [
            pair
            for pair in self.pairs
            if any(name in text.casefold() for name in names for text in (pair.a, pair.b, pair.reference or ""))
        ]


def read_pairs_for_raters(path: Path | str) -> RatersAnswerSet:
    """Read the pairs. Raises DatasetError that lists the rows that cannot be read, or that repeat a pair."""
    source = RowSource(path)
    names: dict[System, str] = {"a": "A", "b": "B"}
    pairs: dict[str, RatersAnswerPair] = {}
    problems: list[DatasetProblem] = []
    first = True
    for line, raw in source.rows():
        try:
            if isinstance(raw, BadRow):
                raise InvalidRecord(Problem("", raw.rule, raw.fix))
            row = decode_dataset_row(raw)
            if first and "systems" in row:
                names = _names(row)
            else:
                pair = _pair(row, line)
                if pair.key in pairs:
                    rule = f"is the same pair as that of {pairs[pair.key].id}"
                    again = Problem("", rule, "remove it, or give each an id")
                    raise InvalidRecord(again)
                pairs[pair.key] = pair
        except InvalidRecord as error:
            problems += [DatasetProblem(str(path), line, each.field, each.rule, each.fix) for each in error.problems]
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            problems.append(DatasetProblem(str(path), line, "", f"is no JSON: {error}", "write one object a line"))
        first = False
    if problems:
        raise DatasetError(problems[:_PROBLEMS_TOLD], count=len(problems))
    if not pairs:
        raise unreadable_file_error(
            path, "holds no pair of answers", 'write {"prompt": ..., "answer_a": ..., "answer_b": ...} a line'
        )
    return RatersAnswerSet(Path(path), names, tuple(pairs.values()))


def write_pairs_for_raters(path: Path, names: dict[System, str], rows: Iterable[dict[str, Any]]) -> None:
    """Write the file whole or not at all, replacing an existing one.

    Each row has the keys of this module's head; their values are not checked. Raises StorageError if the disk refuses.
    """
    with temporary_file(path.parent) as (file, temporary):
        file.write(msgspec.json.encode({"systems": names}) + b"\n")
        for row in rows:
            file.write(msgspec.json.encode(row) + b"\n")
        publish_output_file(file, temporary, path)


def _names(row: dict[str, Any]) -> dict[System, str]:
    systems = row["systems"]
    a, b = (systems.get(side) for side in ("a", "b")) if isinstance(systems, dict) else (None, None)
    if len(row) > 1 or not isinstance(a, str) or not isinstance(b, str) or a == b:
        fix = 'write {"systems": {"a": "NAME", "b": "OTHER NAME"}} as the first line, or leave it out'
        raise InvalidRecord(Problem("systems", "does not name two systems", fix))
    return {"a": a, "b": b}


def _pair(row: dict[str, Any], line: int) -> RatersAnswerPair:
    problems = RecordProblems()
    for key in row:
        if key not in _KEYS:
            problems.add(key, "is not part of a pair", f"use {', '.join(_KEYS)}")
    prompt = _prompt(row, problems)
    a, b = _answer(row, "answer_a", problems), _answer(row, "answer_b", problems)
    reference = problems.read_text(row, "reference", "", required=False)
    id_ = row.get("id")
    if id_ is not None and (isinstance(id_, bool) or not isinstance(id_, str | int)):
        problems.add("id", f"must be text or a number, not {row_value_json_type(id_)}", "write it as a JSON string")
    problems.raise_if_any()
    content = msgspec.json.encode([id_, [(turn.role, turn.text) for turn in prompt], a, b])
    key = blake2b(content, digest_size=_KEY_BYTES).hexdigest()
    return RatersAnswerPair(key, f"line {line}" if id_ is None else str(id_), tuple(prompt), a, b, reference)


def _prompt(row: dict[str, Any], problems: RecordProblems) -> list[PromptTurn]:
    prompt = row.get("prompt")
    if isinstance(prompt, str):
        return [PromptTurn("user", prompt)]
    if not isinstance(prompt, list) or not prompt:
        problems.add("prompt", "is neither a text nor a list of messages", 'add "prompt" with its text')
        return []
    return [
        PromptTurn(message.role, message_for_raters(message))
        for message in read_openai_messages(prompt, "prompt", problems)
    ]


def _answer(row: dict[str, Any], key: str, problems: RecordProblems) -> str:
    answer = row.get(key)
    if isinstance(answer, dict):
        message = read_openai_message(answer, key, problems)
        return "" if message is None else message_for_raters(message)
    return problems.read_text(row, key, "") or ""


def message_for_raters(message: Message) -> str:
    """Return the message as raters see it: the text, an image as a word, each tool call as a block of code."""
    pieces: Sequence[str] = [message.text] if message.text else []
    if message.has_image:
        pieces = [*pieces, "[an image, which is not shown]"]
    calls = [f"```json\n{call.name}({_pretty(call.arguments)})\n```" for call in message.tool_calls]
    return "\n".join([*pieces, *calls])


def _pretty(arguments: str) -> str:
    try:
        return msgspec.json.format(arguments.encode(), indent=2).decode()
    except msgspec.DecodeError:
        return arguments
