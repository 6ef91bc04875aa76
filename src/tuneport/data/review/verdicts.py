"""Verdicts of people on records: a file beside the dataset that only ever grows, one JSON object a verdict.

A verdict belongs to the content of a record, not to its line: it holds after rows were added, removed or sorted, for
every exact copy of the record, and no longer once the record was changed.
"""

from __future__ import annotations

from collections.abc import Container, Mapping
from datetime import UTC, datetime
from enum import StrEnum
from hashlib import blake2b
from pathlib import Path

import msgspec

from tuneport.data.rows.records import (
    Chat,
    Graded,
    Labelled,
    Message,
    PlainText,
    Preference,
    PromptCompletion,
    Record,
    TextPart,
)
from tuneport.data.running.journal import JsonLinesJournal

_RECORD_BYTES = 16


class ReviewDecision(StrEnum):
    ACCEPT = "accept"
    REJECT = "reject"
    EDIT = "edit"
    UNDO = "undo"  # takes the record's last verdict back


class ReviewVerdict(msgspec.Struct, frozen=True, omit_defaults=True):
    """One line of the file. `line` is where the record was then; `text` is the new answer of an edit; `at` is UTC."""

    line: int
    record: str
    verdict: ReviewDecision
    at: datetime
    text: str | None = None


def review_verdicts_path(dataset: Path | str) -> Path:
    return Path(f"{dataset}.review.jsonl")


def record_hash(record: Record) -> str:
    """Return the record's key in the file of verdicts: 128 bits of its content, in hexadecimal."""
    return blake2b(msgspec.json.encode(record), digest_size=_RECORD_BYTES).hexdigest()


def read_review_verdicts(path: Path | str) -> Mapping[str, ReviewVerdict]:
    """Return the standing verdict of each judged record, by `record_hash`; empty if there is no file yet.

    `path` is the file of verdicts (see `review_verdicts_path`). Raises DatasetError that names a broken line; a last
    line that a crash cut short is left out.
    """
    return {verdict.record: verdict for verdict in _standing(_journal(Path(path)))}


def with_answer(record: Record, text: str) -> Record:
    """Return a copy of the record with the answer that `editable_answer` showed replaced by `text`; all else stays."""
    copy = msgspec.structs.replace(record)
    match copy:
        case PromptCompletion():
            copy.completion = text
        case PlainText():
            copy.text = text
        case Preference():
            copy.chosen = _with_last_answer(copy.chosen, text)
        case Chat() | Labelled():
            copy.messages = _with_last_answer(copy.messages, text)
    return copy


def editable_answer(record: Record) -> str | None:
    """Return the last answer's text (of a pair: the chosen one's), or None if it is not a single text that could be
    edited."""
    match record:
        case PromptCompletion():
            return record.completion
        case PlainText():
            return record.text
        case Preference():
            return _last_answer(record.chosen)
        case Chat() | Labelled():
            return _last_answer(record.messages)
        case Graded():
            return None


class ReviewVerdictFile:
    """Appends verdicts; each is on the disk when the call returns. Raises StorageError if the disk refuses."""

    def __init__(self, path: Path) -> None:
        self._journal = _journal(path)
        self.path = path
        self._order = _standing(self._journal)
        self._last = {verdict.record: verdict for verdict in self._order}

    def standing_verdicts(self, record: str) -> ReviewVerdict | None:
        return self._last.get(record)

    def append_verdict(
        self, line: int, record: str, judgement: ReviewDecision, text: str | None = None
    ) -> ReviewVerdict:
        verdict = ReviewVerdict(line, record, judgement, datetime.now(UTC), text)
        self._journal.append(verdict)
        self._order.append(verdict)
        self._last[record] = verdict
        return verdict

    def undo(self, among: Container[str]) -> ReviewVerdict | None:
        """Take the latest standing verdict on one of these records back and return it, or None if there is none."""
        last = next((verdict for verdict in reversed(self._order) if verdict.record in among), None)
        if last is not None:
            self._journal.append(ReviewVerdict(last.line, last.record, ReviewDecision.UNDO, datetime.now(UTC)))
            _take_back(self._order, last.record)
            self._last = {verdict.record: verdict for verdict in self._order}
        return last


def _journal(path: Path) -> JsonLinesJournal[ReviewVerdict]:
    return JsonLinesJournal(path, ReviewVerdict, what="verdict of `tuneport review`")


def _standing(journal: JsonLinesJournal[ReviewVerdict]) -> list[ReviewVerdict]:
    """Return the verdicts that were not taken back, oldest first; the last of several on one record."""
    order: list[ReviewVerdict] = []
    for verdict in journal.rows():
        if verdict.verdict is ReviewDecision.UNDO:
            _take_back(order, verdict.record)
        else:
            order.append(verdict)
    return order


def _take_back(order: list[ReviewVerdict], record: str) -> None:
    for index in range(len(order) - 1, -1, -1):
        if order[index].record == record:
            del order[index]
            return


def _last_answer(messages: list[Message]) -> str | None:
    answers = [message for message in messages if message.role == "assistant"]
    if not answers:
        return None
    content = answers[-1].content
    if isinstance(content, list):
        only = content[0] if len(content) == 1 else None
        return only.text if isinstance(only, TextPart) else None
    return content or ""


def _with_last_answer(messages: list[Message], text: str) -> list[Message]:
    last = max(index for index, message in enumerate(messages) if message.role == "assistant")
    content = messages[last].content
    if isinstance(content, list):
        part = content[0]
        assert isinstance(part, TextPart)  # else `editable_answer` has shown none
        changed = msgspec.structs.replace(messages[last], content=[msgspec.structs.replace(part, text=text)])
    else:
        changed = msgspec.structs.replace(messages[last], content=text)
    return [*messages[:last], changed, *messages[last + 1 :]]
