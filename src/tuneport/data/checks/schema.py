"""Are all records of the format?"""

from __future__ import annotations

from typing import Any

from tuneport.data.checks.finding import MAX_EVIDENCE, Finding, Verdict
from tuneport.data.checks.hits import Hits
from tuneport.data.reading import MAX_PROBLEMS
from tuneport.errors import DatasetError, DatasetProblem


class Schema:
    """Collects what is wrong with rows: the first `MAX_PROBLEMS` problems of the file, and how many there are."""

    def __init__(self) -> None:
        self.hits = Hits()
        self.problems: list[DatasetProblem] = []
        self.count = 0

    def add(self, line: int, problems: tuple[DatasetProblem, ...]) -> None:
        self.count += len(problems)
        self.problems += problems[: MAX_PROBLEMS - len(self.problems)]
        self.hits.add("invalid", line, "; and ".join(map(_words, problems[:2])))

    def state(self) -> Any:
        return self.hits, self.problems, self.count

    def merge(self, state: Any) -> None:
        hits, problems, count = state
        self.hits.merge(hits)
        self.problems = sorted([*self.problems, *problems], key=lambda problem: problem.line or 0)[:MAX_PROBLEMS]
        self.count += count

    def raise_if_any(self) -> None:
        if self.problems:
            raise DatasetError(self.problems, count=self.count)

    def finding(self, format: str, rows: int) -> Finding:
        if not self.count:
            return Finding("schema", Verdict.PASS, f"all {rows:,} records are of the format {format}")
        message = f"{self.count:,} problem{'s' if self.count != 1 else ''} in records of the format {format}"
        fix, evidence = self.problems[0].fix, self.hits.evidence(most=MAX_EVIDENCE)
        return Finding("schema", Verdict.FAIL, message, evidence, fix, count=self.count)


def _words(problem: DatasetProblem) -> str:
    where = f"{problem.field} " if problem.field else ""
    return f"{where}{problem.rule}; {problem.fix}"
