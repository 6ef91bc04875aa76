"""Are all records of the format?"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from tuneport.data.checks.finding import MAX_EVIDENCE, CheckEvidence, Finding, Verdict
from tuneport.data.checks.near.hits import FlaggedRecords
from tuneport.data.containers.numbering import RowPosition
from tuneport.data.reading import MAX_PROBLEMS
from tuneport.data.rows.records import Record, record_shows_image
from tuneport.errors import DatasetError, DatasetProblem
from tuneport.formatting import counted


class DatasetSchemaCheck:
    """Collects what is wrong with rows: the first `MAX_PROBLEMS` problems of the file, and how many there are."""

    def __init__(self) -> None:
        self.hits = FlaggedRecords()
        self.problems: list[DatasetProblem] = []
        self.count = 0
        self.changes: list[CheckEvidence] = []
        self.pictures = 0

    def add(self, line: int, problems: tuple[DatasetProblem, ...]) -> None:
        self.count += len(problems)
        self.problems += problems[: MAX_PROBLEMS - len(self.problems)]
        self.hits.add("invalid", line, "; and ".join(map(_words, problems[:2])))

    def add_record(self, record: Record) -> None:
        self.pictures += record_shows_image(record)

    def state(self) -> Any:
        return self.hits, self.problems, self.count, self.pictures

    def merge(self, state: Any) -> None:
        hits, problems, count, pictures = state
        self.hits.merge(hits)
        self.pictures += pictures
        self.problems = sorted([*self.problems, *problems], key=lambda problem: problem.line or 0)[:MAX_PROBLEMS]
        self.count += count

    def locate(self, place: Callable[[int], RowPosition]) -> None:
        """Set the file of a folder that each problem is in."""
        for index, problem in enumerate(self.problems):
            if problem.line is not None:
                path, line, unit = place(problem.line)
                self.problems[index] = replace(problem, path=str(path), line=line, unit=unit)

    def put_format_changes_first(self, problems: Sequence[DatasetProblem], number: Callable[[Path, int], int]) -> None:
        """Put changes of the format before their consequences. `number` is the inverse of `locate`'s `place`."""
        places = {(problem.path, problem.line) for problem in problems}
        rest = [problem for problem in self.problems if (problem.path, problem.line) not in places]
        self.problems = [*problems, *rest][:MAX_PROBLEMS]
        self.changes = [
            CheckEvidence((number(Path(problem.path), problem.line),), _words(problem))
            for problem in problems
            if problem.line is not None
        ]

    def raise_if_any(self) -> None:
        if self.problems:
            raise DatasetError(self.problems, count=self.count)

    def finding(self, format: str, rows: int) -> Finding:
        if not self.hits:
            all_of = f"all {rows:,} records are" if rows != 1 else "the one record is"
            shown = f", {self.pictures:,} of them with pictures" if self.pictures else ""
            return Finding("schema", Verdict.PASS, f"{all_of} in the format {format}{shown}")
        count = self.hits.count()
        message = f"{counted(count, 'record')} not in the format {format}"
        if self.count > count:
            message += f" ({self.count:,} problems)"
        changed = {line for each in self.changes for line in each.lines}
        rest = (each for each in self.hits.evidence() if changed.isdisjoint(each.lines))
        evidence = (*self.changes, *rest)[:MAX_EVIDENCE]
        return Finding("schema", Verdict.FAIL, message, evidence, self.problems[0].fix, count)


def _words(problem: DatasetProblem) -> str:
    where = f"{problem.field} " if problem.field else ""
    return f"{where}{problem.rule}; {problem.fix}"
