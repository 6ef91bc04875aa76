"""Are all records of the format?"""

from __future__ import annotations

from tuneport.data.checks.finding import MAX_EVIDENCE, Evidence, Finding, Verdict
from tuneport.data.convert import ProblemTally
from tuneport.errors import DatasetProblem


def schema(problems: ProblemTally, format: str, rows: int) -> Finding:
    if not problems.count:
        return Finding("schema", Verdict.PASS, f"all {rows:,} records are of the format {format}")
    evidence = tuple(Evidence(() if p.line is None else (p.line,), _words(p)) for p in problems.problems[:MAX_EVIDENCE])
    message = f"{problems.count:,} problem{'s' if problems.count != 1 else ''} in records of the format {format}"
    return Finding("schema", Verdict.FAIL, message, evidence, problems.problems[0].fix, count=problems.count)


def _words(problem: DatasetProblem) -> str:
    where = f"{problem.field} " if problem.field else ""
    return f"{where}{problem.rule}; {problem.fix}"
