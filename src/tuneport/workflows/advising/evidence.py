"""Evidence from the dataset's check, as fields of the advisor's situation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tuneport.advisor import Task
from tuneport.data.checks import CheckReport, Finding, Verdict


@dataclass(frozen=True)
class DataEvidence:
    """`known`: fields of a `Situation`; `evidence`: the source of each of them."""

    known: Mapping[str, Any] = field(default_factory=dict)
    evidence: Mapping[str, str] = field(default_factory=dict)


def advising_evidence_in_report(report: CheckReport) -> DataEvidence:
    """Return what the report shows. Pure. Plain text counts as text to learn a language or a field from, not as
    examples of answers."""
    known: dict[str, Any] = {}
    evidence: dict[str, str] = {}
    name = Path(report.path).name
    if report.format.format == "text":
        known["examples"], evidence["examples"] = 0, f"{name} is plain text: no examples of answers"
        if report.tokens is not None:
            known["text_tokens"] = report.tokens.total
            evidence["text_tokens"] = f"{report.tokens.total:,} tokens in {name}"
    else:
        enough = report.finding("sample-size")
        known |= {"task": Task(report.task), "examples": report.rows}
        evidence |= {"task": enough.message, "examples": enough.message}
    known["inconsistent"], evidence["inconsistent"] = _inconsistent(report)
    known["has_evaluation"], evidence["has_evaluation"] = _held_out(report.finding("hold-out"))
    known["generated_only"], evidence["generated_only"] = _generated(report)
    return DataEvidence(known, evidence)


def _inconsistent(report: CheckReport) -> tuple[float, str]:
    """Return the share of rows that have another form than the rest, or contradict them.

    Two good answers to an open question are variety, so contradictions count only if the check calls them a mistake.
    """
    consistency, contradictions = report.finding("consistency"), report.finding("contradictions")
    checks = [consistency] + ([contradictions] if contradictions.verdict is Verdict.FAIL else [])
    listed = {
        line
        for kind, lines in report.flagged.items()
        if kind.partition(".")[0] in {check.check for check in checks}
        for line in lines
    }
    # Of a kind with too many lines to list them all, the finding's count is the better one.
    rows = max([len(listed), *(check.count for check in checks if check.verdict is not Verdict.PASS)])
    share = min(1.0, rows / max(1, report.rows))
    told = [f"{rows:,} of {report.rows:,} rows ({share:.0%})"]
    told += [check.evidence[0].told(report.numbering.words) for check in checks if check.evidence][:2]
    if not rows:
        return 0.0, "one form throughout, and no contradictions"
    return share, "; ".join(told)


def _held_out(finding: Finding) -> tuple[bool, str]:
    """Return whether rows are held out, and why. Rows that leak do not count."""
    held_out = finding.details.get("held_out", 0)
    return bool(held_out) and finding.verdict is not Verdict.FAIL, finding.message


def _generated(report: CheckReport) -> tuple[bool | None, str]:
    """Return True if most rows are marked as generated and hardly any as checked, or None if it only reads so or is not
    stated."""
    finding = report.finding("generated")
    if finding.verdict is Verdict.WARN:
        return (True if finding.details["marked"] else None), finding.message
    if finding.details["marked"] or finding.details["seen_by_people"]:
        return False, finding.message
    return None, f"{finding.message}; who wrote the examples is not known"
