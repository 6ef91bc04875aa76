"""One pass over a dataset, in as many processes as pay: every check sees every record, and columns remember them."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tuneport.data.checks.dataset.column_use import ColumnUseCheck
from tuneport.data.checks.dataset.diversity import TEMPLATED, DiversityCheck
from tuneport.data.checks.dataset.schema import DatasetSchemaCheck
from tuneport.data.checks.finding import CheckedDatasetExample, DatasetCheck
from tuneport.data.checks.near.columns import DuplicateCheckColumns, DuplicateColumnWriter
from tuneport.data.checks.rows.answers import RowAnswerChecks
from tuneport.data.checks.rows.consistency import ConsistencyCheck
from tuneport.data.checks.rows.generated import GeneratedTextCheck
from tuneport.data.checks.rows.personal import PersonalDataCheck
from tuneport.data.checks.rows.task import DatasetTaskGuess
from tuneport.data.containers.numbering import RowNumbering, RowPosition
from tuneport.data.dataset import Dataset
from tuneport.data.formats import load_dataset_format
from tuneport.data.reading import find_format_changes, read_dataset_row
from tuneport.data.rows.records import Preference
from tuneport.data.running.parallel import Row, map_rows
from tuneport.data.tokens.tokenizer import TokenizerVocabulary
from tuneport.data.tokens.tokens import TokenLengthCounter


def create_row_checks() -> dict[str, DatasetCheck]:
    """Return the checks that see every record, by the name of their finding."""
    return {
        "consistency": ConsistencyCheck(),
        "answers": RowAnswerChecks(),
        "generated": GeneratedTextCheck(),
        "personal": PersonalDataCheck(),
    }


@dataclass
class RowCheckResults:
    """The results of a pass. Only the schema knows of rows that are not records. `tokens` is None if they were not
    counted."""

    rows: int
    pairs: bool
    mixed: bool
    schema: DatasetSchemaCheck
    use: ColumnUseCheck
    task: DatasetTaskGuess
    tokens: TokenLengthCounter | None
    diversity: DiversityCheck
    checks: dict[str, DatasetCheck] = field(default_factory=create_row_checks)
    columns: DuplicateCheckColumns = field(default_factory=lambda: DuplicateCheckColumns(Path(), ()))
    numbering: RowNumbering = field(default_factory=lambda: RowNumbering(Path(), []))
    notes: list[str] = field(default_factory=list)

    @property
    def is_templated(self) -> bool:
        return self.diversity.mean_similarity > TEMPLATED

    @classmethod
    def empty(cls, vocabulary: TokenizerVocabulary | None) -> RowCheckResults:
        tokens = None if vocabulary is None else vocabulary.counter()
        use, task = ColumnUseCheck(), DatasetTaskGuess()
        return cls(0, False, False, DatasetSchemaCheck(), use, task, tokens, DiversityCheck())


class RowCheckWorker:
    """A worker of `parallel.map_rows`. `judged` is False if only columns, task and diversity are needed."""

    def __init__(
        self, path: Path, format: str, vocabulary: TokenizerVocabulary | None, folder: Path, judged: bool, worker: int
    ) -> None:
        self._path, self._format, self._judged = path, load_dataset_format(format), judged
        self._found = RowCheckResults.empty(vocabulary)
        self._columns = DuplicateColumnWriter(folder, worker)
        self._checks = list(self._found.checks.values())

    def add(self, rows: list[Row]) -> None:
        found = self._found
        for line, raw in rows:
            found.rows += 1
            row = read_dataset_row(self._format, line, raw, self._locate)
            if row.record is None:
                found.schema.add(line, row.problems)
                found.mixed = found.mixed or bool(row.other)
                continue
            found.schema.add_record(row.record)
            example = CheckedDatasetExample.from_record(line, row.record)
            self._columns.add(example)
            found.task.add(example.answer, example.context, line)
            found.pairs = found.pairs or isinstance(row.record, Preference)
            if not self._judged:
                found.diversity.add(example)
                continue
            found.use.add(line, raw, row.record)
            if found.tokens is not None:
                found.tokens.add(line, row.record)
            for check in self._checks:
                check.add(example)
            found.diversity.add(example)  # after the answers, which have found out the question's language

    def _locate(self, line: int) -> RowPosition:
        """Set the file of each line, which the parent knows because it has read the files."""
        return RowPosition(self._path, line)

    def result(self) -> Any:
        held, found = self._columns.close(), self._found
        checks = {name: check.state() for name, check in found.checks.items()}
        tokens = None if found.tokens is None else found.tokens.state()
        parts = (found.schema.state(), found.use.state(), found.task.state(), tokens, found.diversity.state(), checks)
        return (found.rows, found.pairs, found.mixed), held, *parts


def run_row_checks(
    dataset: Dataset, *, vocabulary: TokenizerVocabulary | None, folder: Path, judged: bool = True
) -> RowCheckResults:
    """Read the dataset once; what is remembered of each row is in `columns`, and in `folder` if it is large. Without a
    vocabulary no tokens are counted.

    Raises DatasetError for a dataset that cannot be read as a whole; bad rows are in `schema`.
    """
    source = dataset.open()
    make = f"{__name__}:{RowCheckWorker.__name__}"
    results = map_rows(source.rows(), make, dataset.path, dataset.format, vocabulary, folder, judged)
    found = RowCheckResults.empty(vocabulary)
    found.columns = DuplicateCheckColumns(folder, [result[1] for result in results])
    for (count, pairs, mixed), _, schema, use, task, tokens, diversity, checks in results:
        found.rows += count
        found.pairs, found.mixed = found.pairs or pairs, found.mixed or mixed
        found.schema.merge(schema)
        found.use.merge(use)
        found.task.merge(task)
        if found.tokens is not None:
            found.tokens.merge(tokens)
        found.diversity.merge(diversity)
        for name, state in checks.items():
            found.checks[name].merge(state)
    found.numbering, found.notes = source.numbering, source.notes
    found.schema.locate(source.locate)
    if found.mixed:
        found.schema.put_format_changes_first(find_format_changes(source).problems, source.numbering.number)
    return found
