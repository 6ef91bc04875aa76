"""All checks of a dataset in one report."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tuneport.data.checks.answers import Answers
from tuneport.data.checks.classes import balance
from tuneport.data.checks.contradictions import Contradictions
from tuneport.data.checks.duplicates import Duplicates
from tuneport.data.checks.enough import enough
from tuneport.data.checks.finding import Example, Finding, Verdict
from tuneport.data.checks.holdout import HoldOut
from tuneport.data.checks.lengths import lengths
from tuneport.data.checks.personal import Personal
from tuneport.data.checks.schema import schema
from tuneport.data.checks.task import TASKS, TaskGuess
from tuneport.data.convert import ProblemTally
from tuneport.data.formats import load_format
from tuneport.data.reading import Detection, detect, scan
from tuneport.data.records import Preference
from tuneport.data.text import split_answer, written_out
from tuneport.data.tokens import TokenCounter, TokenCounts
from tuneport.errors import ConfigError
from tuneport.types import Method


@dataclass(frozen=True)
class CheckReport:
    """`rows` counts good and bad records; `classes` is None where the task is no classification."""

    path: Path
    format: Detection
    rows: int
    method: Method
    task: str
    findings: tuple[Finding, ...]
    classes: dict[str, int] | None
    tokens: TokenCounts

    @property
    def ok(self) -> bool:
        """No check failed. Warnings are for the user to judge."""
        return all(finding.verdict is not Verdict.FAIL for finding in self.findings)

    def finding(self, check: str) -> Finding:
        return next(finding for finding in self.findings if finding.check == check)

    def as_dict(self) -> dict[str, Any]:
        return {
            "path": str(self.path),
            "format": self.format.as_dict(),
            "rows": self.rows,
            "method": self.method.value,
            "task": self.task,
            "ok": self.ok,
            "findings": [finding.as_dict() for finding in self.findings],
            "classes": self.classes,
            "tokens": self.tokens.as_dict(),
        }


def check(
    path: Path | str,
    *,
    format: str | None = None,
    validation: Path | str | None = None,
    encoding: str = "o200k_base",
    task: str | None = None,
    context: int | None = None,
) -> CheckReport:
    """Judge a dataset in one pass. Bad records are a finding; the other checks look at the good ones.

    `validation` is the held-out file, `task` one of `TASKS` where it is not to be guessed, `context` the tokens that
    an example may have. DatasetError only for a file that cannot be read at all or whose format is unknown.
    """
    path = Path(path)
    if task is not None and task not in TASKS:
        raise ConfigError(f"the task {task!r} is not known; known tasks: {', '.join(TASKS)}")
    if format is None:
        found_format = detect(path)
    else:
        found_format = Detection(load_format(format).NAME, 1.0, "as given")
    problems, guess, counter = ProblemTally(), TaskGuess(), TokenCounter(encoding, context=context)
    held_out = HoldOut(path, None if validation is None else Path(validation))
    checks: list[Any] = [Answers(), Duplicates(), Contradictions(guess), held_out, Personal()]
    rows, pairs = 0, False
    for found in scan(path, found_format.format):
        rows += 1
        problems.accept(found.problems)
        if found.record is None:
            continue
        pairs = pairs or isinstance(found.record, Preference)
        context_messages, answer = split_answer(found.record)
        example = Example(
            found.line,
            found.record,
            written_out(context_messages),
            written_out(context_messages, system=False),
            written_out(answer),
        )
        guess.add(example.answer)
        counter.add(found.line, found.record)
        for each in checks:
            each.add(example)
    findings = (
        schema(problems, found_format.format, rows),
        enough(guess, task),
        *(each.finding() for each in checks),
        balance(guess, task),
        lengths(counter),
    )
    name = task or guess.name
    return CheckReport(
        path=path,
        format=found_format,
        rows=rows,
        method=Method.DPO if pairs else Method.SFT,
        task=name,
        findings=findings,
        classes=guess.classes if name == "classification" else None,
        tokens=counter.counts(),
    )
