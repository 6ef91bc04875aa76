"""All checks of a dataset in one report."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from tuneport.data.checks.alike import repeated
from tuneport.data.checks.classes import balance
from tuneport.data.checks.consistency import Consistency
from tuneport.data.checks.contradictions import Contradictions
from tuneport.data.checks.duplicates import Duplicates
from tuneport.data.checks.enough import enough
from tuneport.data.checks.finding import Check, Example, Finding, Verdict
from tuneport.data.checks.gathering import gather
from tuneport.data.checks.holdout import HeldOut, HoldOut
from tuneport.data.checks.lengths import Lengths
from tuneport.data.checks.lookup import examples_at
from tuneport.data.checks.task import TASKS
from tuneport.data.containers.numbering import Numbering
from tuneport.data.containers.source import held_out_beside
from tuneport.data.formats import load_format
from tuneport.data.reading import Detection, columns_there, detect
from tuneport.data.tokenizer import Vocabulary
from tuneport.data.tokens import TokenCounts
from tuneport.errors import ConfigError
from tuneport.types import Method

OPENAI = Vocabulary()


@dataclass(frozen=True)
class CheckReport:
    """`rows` counts good and bad records; `classes` is None where the task is no classification.

    `flagged` has the lines of all records that a check points at, by check and kind ("duplicates.exact"), in order;
    `beside`, of duplicates and contradictions, the earlier line that each of them is like. `numbering` says in which
    file a line is, and where lines are records. `notes` say what was done unasked: which column was left out as it
    holds nothing, and which split of the folder was taken as the hold-out. Of a kind with too many lines to list them
    all, `unlisted` says of a record whether it is one of them.
    """

    path: Path
    format: Detection
    rows: int
    method: Method
    task: str
    findings: tuple[Finding, ...]
    classes: dict[str, int] | None
    tokens: TokenCounts
    flagged: Mapping[str, Sequence[int]]
    beside: Mapping[str, Sequence[int]]
    numbering: Numbering
    notes: tuple[str, ...] = ()
    unlisted: Mapping[str, Callable[[Example], bool]] = field(default_factory=dict)

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
            "notes": list(self.notes),
            "rows": self.rows,
            "method": self.method.value,
            "task": self.task,
            "ok": self.ok,
            "files": self.numbering.as_dict(),
            "findings": [finding.as_dict(self.numbering.words) for finding in self.findings],
            "flagged": {kind: list(lines) for kind, lines in self.flagged.items()},
            "classes": self.classes,
            "tokens": self.tokens.as_dict(),
        }


def check(
    path: Path | str,
    *,
    format: str | None = None,
    validation: Path | str | None = None,
    vocabulary: Vocabulary = OPENAI,
    task: str | None = None,
    columns: Mapping[str, str] | None = None,
) -> CheckReport:
    """Judge a dataset. Bad records are a finding; the other checks look at the good ones.

    `validation` is the held-out file; without one, what the folder holds out whose split `path` is. `task` is one of
    `TASKS` where it is not to be guessed, `vocabulary` what tokens are counted with and how many an example may have,
    `columns` other names of columns (`--map`). What is remembered of each row (0.4 kB) lies in a temporary folder
    meanwhile, where it is much. DatasetError only for a file that cannot be read at all or whose format is unknown,
    StorageError where that folder is full.
    """
    path = Path(path)
    if task is not None and task not in TASKS:
        raise ConfigError(f"the task {task!r} is not known; known tasks: {', '.join(TASKS)}")
    if format is None:
        found_format = detect(path, columns)
    else:
        found_format = Detection(load_format(format).NAME, 1.0, "as given")
    name = found_format.format
    own: tuple[str, ...] = ()
    if validation is None and (beside_it := held_out_beside(path)) is not None:
        validation = beside_it
        own = (f"held out is {beside_it}, which the folder has; --validation names another",)
    with tempfile.TemporaryDirectory(prefix="tuneport-check-") as temporary:
        folder = Path(temporary) / "training"
        folder.mkdir()
        found = gather(path, name, columns=columns, vocabulary=vocabulary, folder=folder)
        remembered, lookup = found.columns, partial(examples_at, path, name, columns)
        held_out = None
        if validation is not None:
            held_out = _held_out(validation, columns, Path(temporary) / "validation")
        guess = found.task
        templated = found.templated
        with found.diversity.clustering():
            duplicates = Duplicates(remembered, lookup, templated=templated)
            contradictions = Contradictions(remembered, lookup, task or guess.name, templated=templated)
            hold_out = HoldOut(path, remembered, lookup, held_out, templated=templated)
            repeats = len(repeated(remembered.key("question"), remembered.lines)[0])
    lengths = Lengths(found.tokens, found.numbering)
    distinct = 1 - repeats / max(1, len(remembered))
    findings = (
        found.schema.finding(name, found.rows),
        enough(guess, task),
        found.diversity.finding(distinct),
        *(each.finding() for each in found.checks.values()),
        duplicates.finding(),
        contradictions.finding(),
        balance(guess, task),
        hold_out.finding(),
        lengths.finding(),
    )
    lines: dict[str, Mapping[str, Sequence[int]]] = {"schema": found.schema.hits.flagged()}
    lines |= {name: each.lines() for name, each in found.checks.items()}
    beside: dict[str, Sequence[int]] = {}
    for name, hits in {"duplicates": duplicates.hits, "contradictions": contradictions.hits}.items():
        lines[name] = hits.flagged()
        beside |= {f"{name}.{kind}": hits.beside[kind] for kind in lines[name]}
    lines |= {"holdout": hold_out.hits.flagged(), "lengths": lengths.hits.flagged()}
    called = task or guess.name
    return CheckReport(
        path=path,
        format=found_format,
        rows=found.rows,
        method=Method.DPO if found.pairs else Method.SFT,
        task=called,
        findings=findings,
        classes=guess.classes if called == "classification" else None,
        tokens=found.tokens.counts(),
        flagged={f"{name}.{kind}": list(each) for name, kinds in lines.items() for kind, each in kinds.items()},
        beside=beside,
        numbering=found.numbering,
        notes=(*found.notes, *own),
        unlisted=_unlisted(found.checks),
    )


def _unlisted(checks: Mapping[str, Check]) -> dict[str, Callable[[Example], bool]]:
    consistency = checks["consistency"]
    assert isinstance(consistency, Consistency)
    return {f"consistency.{kind}": of for kind, of in consistency.unlisted().items()}


def _held_out(path: Path | str, columns: Mapping[str, str] | None, folder: Path) -> HeldOut:
    path = Path(path)
    columns = columns_there(path, columns)
    name = detect(path, columns).format
    folder.mkdir()
    found = gather(path, name, columns=columns, vocabulary=OPENAI, folder=folder, judged=False)
    found.schema.raise_if_any()
    return HeldOut(found.columns, partial(examples_at, path, name, columns), found.numbering)
