"""One pass over a dataset, in as many processes as pay: every check sees every record, and columns remember them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tuneport.data.checks.answers import Answers
from tuneport.data.checks.columns import Columns, ColumnWriter
from tuneport.data.checks.consistency import Consistency
from tuneport.data.checks.diversity import TEMPLATED, Diversity
from tuneport.data.checks.finding import Check, Example
from tuneport.data.checks.generated import Generated
from tuneport.data.checks.personal import Personal
from tuneport.data.checks.schema import Schema
from tuneport.data.checks.task import TaskGuess
from tuneport.data.containers.numbering import Numbering, Place
from tuneport.data.containers.source import Source
from tuneport.data.formats import load_format
from tuneport.data.parallel import Row, over_rows
from tuneport.data.reading import changes, read_row
from tuneport.data.records import Preference
from tuneport.data.tokenizer import Vocabulary
from tuneport.data.tokens import LengthCounter


def row_checks() -> dict[str, Check]:
    """Those that are handed every record, by the name of their finding."""
    return {"consistency": Consistency(), "answers": Answers(), "generated": Generated(), "personal": Personal()}


@dataclass
class Gathered:
    """What a pass has found. Of rows that are no records the schema alone knows."""

    rows: int
    pairs: bool
    mixed: bool
    schema: Schema
    task: TaskGuess
    tokens: LengthCounter
    diversity: Diversity
    checks: dict[str, Check] = field(default_factory=row_checks)
    columns: Columns = field(default_factory=lambda: Columns(Path(), ()))
    numbering: Numbering = field(default_factory=lambda: Numbering(Path(), []))
    notes: list[str] = field(default_factory=list)

    @property
    def templated(self) -> bool:
        return self.diversity.alike > TEMPLATED

    @classmethod
    def nothing(cls, vocabulary: Vocabulary) -> Gathered:
        return cls(0, False, False, Schema(), TaskGuess(), vocabulary.counter(), Diversity())


class GatherWork:
    """A worker of `parallel.over_rows`. `judged` is False where columns, task and diversity are all that is wanted."""

    def __init__(
        self, path: Path, format: str, vocabulary: Vocabulary, folder: Path, judged: bool, worker: int
    ) -> None:
        self._path, self._format, self._judged = path, load_format(format), judged
        self._found = Gathered.nothing(vocabulary)
        self._columns = ColumnWriter(folder, worker)
        self._checks = list(self._found.checks.values())

    def add(self, rows: list[Row]) -> None:
        found = self._found
        for line, raw in rows:
            found.rows += 1
            row = read_row(self._format, line, raw, self._locate)
            if row.record is None:
                found.schema.add(line, row.problems)
                found.mixed = found.mixed or bool(row.other)
                continue
            example = Example.of(line, row.record)
            self._columns.add(example)
            found.task.add(example.answer, example.context, line)
            found.pairs = found.pairs or isinstance(row.record, Preference)
            if not self._judged:
                found.diversity.add(example)
                continue
            found.tokens.add(line, row.record)
            for check in self._checks:
                check.add(example)
            found.diversity.add(example)  # after the answers, which have found out the question's language

    def _locate(self, line: int) -> Place:
        """The parent, who has read the files, knows which one a line is in."""
        return Place(self._path, line)

    def result(self) -> Any:
        held, found = self._columns.close(), self._found
        checks = {name: check.state() for name, check in found.checks.items()}
        parts = (found.schema.state(), found.task.state(), found.tokens.state(), found.diversity.state(), checks)
        return (found.rows, found.pairs, found.mixed), held, *parts


def gather(
    path: Path,
    format: str,
    *,
    columns: Mapping[str, str] | None,
    vocabulary: Vocabulary,
    folder: Path,
    judged: bool = True,
) -> Gathered:
    """Pass over `path`; what is remembered of each row is in `columns`, and in `folder` where it is much.

    DatasetError for a dataset that cannot be read as a whole; bad rows are in `schema`.
    """
    source = Source(path, columns)
    make = f"{__name__}:{GatherWork.__name__}"
    results = over_rows(source.rows(), make, path, format, vocabulary, folder, judged)
    found = Gathered.nothing(vocabulary)
    found.columns = Columns(folder, [result[1] for result in results])
    for (count, pairs, mixed), _, schema, task, tokens, diversity, checks in results:
        found.rows += count
        found.pairs, found.mixed = found.pairs or pairs, found.mixed or mixed
        found.schema.merge(schema)
        found.task.merge(task)
        found.tokens.merge(tokens)
        found.diversity.merge(diversity)
        for name, state in checks.items():
            found.checks[name].merge(state)
    found.numbering, found.notes = source.numbering, source.notes
    found.schema.locate(source.locate)
    if found.mixed:
        found.schema.put_first(changes(path, columns).problems, source.numbering.number)
    return found
