"""Counts rows that would train nothing, while a dataset is prepared. A dataset of only such rows is refused."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from tuneport.data.rows.records import Chat, Graded, Labelled, Message, PlainText, Preference, PromptCompletion, Record
from tuneport.data.tokens.tokens import OTHER_VOCABULARY
from tuneport.errors import DatasetError, DatasetProblem
from tuneport.openai_encodings import load_openai_encoding

if TYPE_CHECKING:
    from tiktoken import Encoding

_LINES_TOLD = 5
_EMPTY, _MASKED, _CUT = "empty", "masked", "cut"
_WORDS = {
    _EMPTY: ("an empty answer", "complete the answers or remove the rows (tuneport clean does)"),
    _MASKED: ("no answer that is trained on (weight 0, or none)", "give an answer the weight 1"),
    _CUT: ("an answer that begins beyond the limit of {limit:,} tokens", "shorten them or take a longer context"),
}


class UntrainedDatasetRecords:
    """`add` each record. `limit`: the tokens of a row that the model is trained on, if that is known.

    A row counts as cut only if its prompt is over the limit in any vocabulary: some are missed, and no row that would
    be trained on is counted.
    """

    def __init__(self, limit: int | None = None) -> None:
        self.limit, self.rows = limit, 0
        self.words: Callable[[list[int]], str] = lambda lines: ", ".join(map(str, lines))
        self.lines: dict[str, list[int]] = {}
        self.counts: dict[str, int] = {}

    def add(self, line: int, record: Record) -> None:
        self.rows += 1
        kind = self._kind(record)
        if kind is not None:
            self.counts[kind] = self.counts.get(kind, 0) + 1
            if len(lines := self.lines.setdefault(kind, [])) < _LINES_TOLD:
                lines.append(line)

    def refuse_if_all_untrained(self, path: Path) -> None:
        """Raise DatasetError if no token of the dataset would be trained on."""
        if not self.rows or sum(self.counts.values()) < self.rows:
            return
        kinds = sorted(self.counts, key=lambda kind: -self.counts[kind])
        told = ", ".join(f"{self.counts[kind]:,} {self._have(kind)}" for kind in kinds)
        rule = f"none of the {self.rows:,} rows would train anything: {told}"
        raise DatasetError(DatasetProblem(str(path), None, "", rule, _WORDS[kinds[0]][1]))

    def warnings(self, path: Path) -> list[str]:
        """Return a line for each kind of row that trains nothing if others do."""
        found = []
        for kind, count in self.counts.items():
            lines = self.lines[kind]
            first = self.words(lines)
            more = ", ..." if count > len(lines) else ""
            found.append(
                f"{path}: {count:,} of {self.rows:,} rows {self._have(kind)} ({first}{more}); {_WORDS[kind][1]}"
            )
        return found

    def _have(self, kind: str) -> str:
        return f"{'has' if self.counts[kind] == 1 else 'have'} {_WORDS[kind][0].format(limit=self.limit)}"

    def _kind(self, record: Record) -> str | None:
        if isinstance(record, Graded):
            return None  # the model writes its own answers
        prompt, answers = _parts(record)
        if not answers:
            return _MASKED
        if all(_is_blank(answer) for answer in answers):
            return _EMPTY
        return _CUT if self.limit is not None and self._begins_beyond(prompt) else None

    def _begins_beyond(self, prompt: list[str]) -> bool:
        assert self.limit is not None
        if sum(len(text.encode()) for text in prompt) * OTHER_VOCABULARY[0] < self.limit:
            return False  # no text has more tokens than bytes
        return sum(self._count(text) for text in prompt) * OTHER_VOCABULARY[0] >= self.limit

    def _count(self, text: str) -> int:
        return len(self._encoding.encode_ordinary(text))

    @cached_property
    def _encoding(self) -> Encoding:
        return load_openai_encoding("o200k_base")


def _parts(record: Record) -> tuple[list[str], list[Message]]:
    """Return the texts before the first trained answer, and the trained answers; of a pair, both."""
    match record:
        case PromptCompletion():
            return [record.prompt], [Message("assistant", record.completion)]
        case PlainText():
            return [], [Message("assistant", record.text)]
        case Preference():
            return [message.text for message in record.context], [*record.chosen, *record.rejected]
        case Labelled():
            return [message.text for message in record.messages[:-1]], record.messages[-1:]
        case Chat():
            return list(_before(record.messages)), [message for message in record.messages if _is_trained(message)]
    return [], []


def _before(messages: list[Message]) -> Iterator[str]:
    for message in messages:
        if _is_trained(message):
            return
        yield message.text


def _is_trained(message: Message) -> bool:
    return message.role == "assistant" and message.weight != 0


def _is_blank(message: Message) -> bool:
    return not (message.text.strip() or message.tool_calls or message.reasoning or message.has_image)
