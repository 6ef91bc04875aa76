"""All checks of a dataset in one report."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from tuneport.data.checks.dataset.classes import check_class_balance
from tuneport.data.checks.dataset.contradictions import ContradictionCheck
from tuneport.data.checks.dataset.duplicates import DuplicateCheck
from tuneport.data.checks.dataset.holdout import HeldOutColumns, HoldoutLeakCheck
from tuneport.data.checks.dataset.lengths import LengthCheck
from tuneport.data.checks.dataset.sample_size import check_sample_size
from tuneport.data.checks.finding import CheckedDatasetExample, DatasetCheck, Finding, Verdict
from tuneport.data.checks.gathering import run_row_checks
from tuneport.data.checks.near.lookup import examples_at_lines
from tuneport.data.checks.near.near_duplicates import find_exact_duplicates
from tuneport.data.checks.rows.consistency import ConsistencyCheck
from tuneport.data.checks.rows.task import TASKS
from tuneport.data.containers.numbering import RowNumbering
from tuneport.data.containers.source import find_dataset_held_out_split
from tuneport.data.dataset import Dataset, DatasetLike
from tuneport.data.reading import FormatDetection
from tuneport.data.tokens.tokenizer import TokenizerVocabulary
from tuneport.data.tokens.tokens import TokenCounts
from tuneport.errors import ConfigError
from tuneport.pages.notebook import Verdict as Mark
from tuneport.pages.notebook import render_notebook_view
from tuneport.types import Method

OPENAI = TokenizerVocabulary()


@dataclass(frozen=True)
class CheckReport:
    """`rows` counts good and bad records; `classes` is None if the task is not classification.

    `flagged` has the lines of all records that a check points at, by check and kind ("duplicates.exact"), in order;
    `beside`, of duplicates and contradictions, the earlier line that each of them is like. `numbering` says in which
    file a line is, and where lines are records. `notes` say what was done unasked: which column was left out as it
    holds nothing, and which split of the folder was taken as the hold-out. Of a kind with too many lines to list them
    all, `unlisted` says of a record whether it is one of them. `tokens` is None if they could not be counted, which
    the finding "lengths" tells.
    """

    dataset: Dataset
    format: FormatDetection
    rows: int
    method: Method
    task: str
    findings: tuple[Finding, ...]
    classes: dict[str, int] | None
    tokens: TokenCounts | None
    flagged: Mapping[str, Sequence[int]]
    beside: Mapping[str, Sequence[int]]
    numbering: RowNumbering
    notes: tuple[str, ...] = ()
    unlisted: Mapping[str, Callable[[CheckedDatasetExample], bool]] = field(default_factory=dict)

    def __repr__(self) -> str:
        found = ", ".join(
            f"{finding.check} {finding.verdict}" for finding in self.findings if finding.verdict != "pass"
        )
        return f"CheckReport({self.dataset!r}, {self.rows:,} rows: {found or 'all checks pass'})"

    def _repr_html_(self) -> str:
        verdicts = [finding.verdict for finding in self.findings]
        worst = next((verdict for verdict in (Verdict.FAIL, Verdict.WARN) if verdict in verdicts), Verdict.PASS)
        told = {Verdict.FAIL: "not ready", Verdict.WARN: "worth a look", Verdict.PASS: "good enough"}[worst]
        facts = [
            ("records", f"{self.rows:,}"),
            ("format", self.format.format),
            ("method", self.method.value),
            ("task", self.task),
        ]
        if self.tokens is not None:
            facts.append(("tokens", f"{self.tokens.total:,}"))
        rows = [
            (each.check, each.verdict.value, f"{each.message}{f' → {each.fix}' if each.fix else ''}")
            for each in self.findings
        ]
        marks: list[Mark] = [each.verdict.value for each in self.findings]
        name = self.path.name if self.dataset.in_file else repr(self.dataset)
        return render_notebook_view(
            name,
            facts,
            ruling=(told, worst.value),
            head=("check", "verdict", "found"),
            rows=rows,
            marks=marks,
            notes=self.notes,
        )

    @property
    def path(self) -> Path:
        return self.dataset.path

    @property
    def ok(self) -> bool:
        """Return whether no check failed. Warnings are for the user to judge."""
        return all(finding.verdict is not Verdict.FAIL for finding in self.findings)

    def finding(self, check: str) -> Finding:
        """Return the finding of that check. "enough" is the name that sample-size had before this release."""
        check = "sample-size" if check == "enough" else check
        return next(finding for finding in self.findings if finding.check == check)

    def require_tokens(self) -> TokenCounts:
        """Return the counts. Raises ConfigError, which says how they are to be had, if tokens were not counted."""
        if self.tokens is None:
            raise ConfigError(self.finding("lengths").fix)
        return self.tokens

    def as_dict(self) -> dict[str, Any]:
        return {
            "path": str(self.path),
            "format": self.format.as_dict(),
            "notes": list(self.notes),
            "rows": self.rows,
            "method": self.method.value,
            "task": self.task,
            "ok": self.ok,
            "files": self.numbering.as_dict(),
            "findings": [finding.as_dict(self.numbering.words) for finding in self.findings],
            "flagged": {kind: list(lines) for kind, lines in self.flagged.items()},
            "classes": self.classes,
            "tokens": None if self.tokens is None else self.tokens.as_dict(),
        }


def check_dataset(
    path: DatasetLike,
    *,
    format: str | None = None,
    validation: DatasetLike | None = None,
    vocabulary: TokenizerVocabulary = OPENAI,
    task: str | None = None,
    method: Method | None = None,
) -> CheckReport:
    """Judge a dataset. Bad records are a finding; the other checks look at the good ones.

    `validation` is the held-out file; without one, the held-out split of the folder whose split `path` is. `task` is
    one of `TASKS`, guessed by default; `method` is the one to train with, where a grader or a reward is given all
    columns; `vocabulary` is the one to count tokens with and the limit of an example. What is remembered of each row
    (0.4 kB) lies in a temporary folder if it is large. Without a vocabulary on this machine or a network to fetch it, a
    finding says that tokens were not counted. Raises DatasetError only for a file that cannot be read at all or whose
    format is unknown, StorageError if that folder is full.
    """
    dataset = Dataset.of(path, format=format)
    if task is not None and task not in TASKS:
        raise ConfigError(f"the task {task!r} is not known; known tasks: {', '.join(TASKS)}")
    found_format = dataset.detection
    name = found_format.format
    own: tuple[str, ...] = ()
    if validation is None and (beside_it := find_dataset_held_out_split(dataset.path)) is not None:
        validation = beside_it
        own = (f"compared with {beside_it}, the folder's held-out split (--validation names another)",)
    uncounted = vocabulary.why_unavailable()
    with tempfile.TemporaryDirectory(prefix="tuneport-check-") as temporary:
        folder = Path(temporary) / "training"
        folder.mkdir()
        found = run_row_checks(dataset, vocabulary=None if uncounted else vocabulary, folder=folder)
        remembered, lookup = found.columns, partial(examples_at_lines, dataset)
        held_out = None
        if validation is not None:
            held_out = _held_out(dataset.validation_like(validation), Path(temporary) / "validation")
        guess = found.task
        templated = found.is_templated
        with found.diversity.cluster_topics():
            duplicates = DuplicateCheck(remembered, lookup, templated=templated)
            contradictions = ContradictionCheck(remembered, lookup, task or guess.name, templated=templated)
            hold_out = HoldoutLeakCheck(dataset, remembered, lookup, held_out, templated=templated)
            repeats = len(find_exact_duplicates(remembered.key("question"), remembered.lines)[0])
    lengths = LengthCheck(found.tokens, found.numbering, uncounted)
    distinct = 1 - repeats / max(1, len(remembered))
    findings = (
        found.schema.finding(name, found.rows),
        found.use.finding(dataset.reading.ignored_columns, all_are_used=method is not None and method.writes_answers),
        check_sample_size(guess, task),
        found.diversity.finding(distinct),
        *(each.finding() for each in found.checks.values()),
        duplicates.finding(),
        contradictions.finding(),
        check_class_balance(guess, task),
        hold_out.finding(),
        lengths.finding(),
    )
    lines: dict[str, Mapping[str, Sequence[int]]] = {"schema": found.schema.hits.lines_by_kind()}
    lines |= {name: each.lines() for name, each in found.checks.items()}
    beside: dict[str, Sequence[int]] = {}
    for name, hits in {"duplicates": duplicates.hits, "contradictions": contradictions.hits}.items():
        lines[name] = hits.lines_by_kind()
        beside |= {f"{name}.{kind}": hits.beside[kind] for kind in lines[name]}
    lines |= {"holdout": hold_out.hits.lines_by_kind(), "lengths": lengths.hits.lines_by_kind()}
    called = task or guess.name
    return CheckReport(
        dataset=dataset,
        format=found_format,
        rows=found.rows,
        method=Method.DPO if found.pairs else Method.SFT,
        task=called,
        findings=findings,
        classes=guess.classes if called == "classification" else None,
        tokens=lengths.counts,
        flagged={f"{name}.{kind}": list(each) for name, kinds in lines.items() for kind, each in kinds.items()},
        beside=beside,
        numbering=found.numbering,
        notes=(*found.notes, *own),
        unlisted=_unlisted(found.checks),
    )


def _unlisted(checks: Mapping[str, DatasetCheck]) -> dict[str, Callable[[CheckedDatasetExample], bool]]:
    consistency = checks["consistency"]
    assert isinstance(consistency, ConsistencyCheck)
    return {f"consistency.{kind}": of for kind, of in consistency.unlisted().items()}


def _held_out(validation: Dataset, folder: Path) -> HeldOutColumns:
    folder.mkdir()
    found = run_row_checks(validation, vocabulary=None, folder=folder, judged=False)
    found.schema.raise_if_any()
    return HeldOutColumns(found.columns, partial(examples_at_lines, validation), found.numbering)
