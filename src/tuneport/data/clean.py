"""Writes a dataset without what the checks point at, and a log of every record that was removed or changed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import repeat
from pathlib import Path
from typing import Any

import msgspec

from tuneport.data.checks.kinds import KINDS, named
from tuneport.data.checks.report import CheckReport, check
from tuneport.data.reading import rows
from tuneport.data.writing import aside, publish
from tuneport.errors import ConfigError, DatasetError, DatasetProblem

DROPPED = (
    "schema.invalid",
    "answers.empty",
    "answers.untrained",
    "duplicates.exact",
    "duplicates.near",
    "holdout.exact",
    "holdout.near",
)
"""What is removed unless told otherwise: records from which nothing, or nothing new, can be learnt, and leaks."""


@dataclass(frozen=True)
class CleanReport:
    """`removed` and `changed` count records; `why` counts them by reason, and a record may have several."""

    source: Path
    output: Path
    log: Path
    rows: int
    written: int
    removed: int
    changed: int
    why: Mapping[str, int]

    def as_dict(self) -> dict[str, Any]:
        paths = {"source": str(self.source), "output": str(self.output), "log": str(self.log)}
        return {**vars(self), **paths, "why": dict(self.why)}


def clean(
    path: Path | str,
    output: Path | str,
    *,
    format: str | None = None,
    validation: Path | str | None = None,
    task: str | None = None,
    drop: Iterable[str] = (),
    keep: Iterable[str] = (),
    columns: Mapping[str, str] | None = None,
) -> CleanReport:
    """Write `output` (JSON lines, in the source's format and order) and `output` + `.log.jsonl`.

    Removed are the kinds of `DROPPED` and `drop` without those of `keep`; a check's name stands for all its kinds. Of
    duplicates the first stays. Records that stay are byte for byte those of the source. Both files appear whole at the
    end, or not at all. ConfigError for a kind that does not exist, DatasetError where nothing would be left.
    """
    path, output = Path(path), Path(output)
    if output.resolve() == path.resolve():
        raise ConfigError(f"the output {output} is the input; name another, so that the original stays")
    kinds = _kinds(drop, keep)
    report = check(path, format=format, validation=validation, task=task, columns=columns)
    reasons = _reasons(report, kinds & set(report.flagged))
    log = output.with_name(output.name + ".log.jsonl")
    why: Counter[str] = Counter()
    written = count = 0
    with aside(output.parent) as (kept, kept_path), aside(output.parent) as (told, told_path):
        for line, raw in rows(path, columns):
            count += 1
            found = reasons.get(line)
            if found is None:
                kept.write((msgspec.json.format(raw, indent=-1) if b"\n" in raw else raw) + b"\n")
                written += 1
                continue
            why.update(reason["check"] for reason in found)
            told.write(
                msgspec.json.encode({"line": line, "action": "removed", "why": found, "record": _raw(raw)}) + b"\n"
            )
        if not written:
            fix = f"keep some kinds with --keep; what was found: {', '.join(why)}"
            raise DatasetError(DatasetProblem(str(path), None, "", "would have no record left", fix))
        publish(kept, kept_path, output)
        publish(told, told_path, log)
    removed = count - written
    return CleanReport(path, output, log, count, written, removed, 0, dict(why.most_common()))


def _kinds(drop: Iterable[str], keep: Iterable[str]) -> set[str]:
    dropped, kept = set(DROPPED), set[str]()
    for names, kinds in ((drop, dropped), (keep, kept)):
        for name in names:
            if not named(name):
                raise ConfigError(f"the kind {name!r} is not known; known: {', '.join(sorted(KINDS))}")
            kinds |= named(name)
    return dropped - kept


def _reasons(report: CheckReport, kinds: set[str]) -> dict[int, list[dict[str, Any]]]:
    found: dict[int, list[dict[str, Any]]] = {}
    for kind in sorted(kinds):
        lines = report.flagged[kind]
        for line, beside in zip(lines, report.beside.get(kind, repeat(0)), strict=False):
            reason = {"check": kind} | ({"like_line": beside} if beside else {})
            found.setdefault(line, []).append(reason)
    return found


def _raw(raw: bytes) -> Any:
    """The record itself, so that nothing is lost with its removal; text where it is no JSON."""
    try:
        msgspec.json.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return raw.decode("utf-8", "replace")
    return msgspec.Raw(raw)
