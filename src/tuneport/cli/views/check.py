"""The view of a data report in a terminal."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING

from rich.text import Text

from tuneport.cli.views import output
from tuneport.formatting import counted

if TYPE_CHECKING:
    from rich.console import Console

    from tuneport.data.checks import CheckReport, Finding

EVIDENCE_SHOWN = 3
EVIDENCE_LINES = 4  # on the screen, of each
CLASSES_SHOWN = 12
_COLOURS = {"pass": "green", "warn": "yellow", "fail": "red"}
_VERDICT_WIDTH = len("pass")
_ORDER = ("fail", "warn", "pass")


def print_check_report(report: CheckReport, console: Console | None = None, *, every: bool = False) -> None:
    """Print the checks that failed, then the warnings, each with evidence and advice; then the names of those that
    passed, or with `every` what they say. Fits the terminal."""
    console = console or output.console()
    console.print(
        Text(
            f"{output.counted(report.rows, 'record')}, {report.format.format} ({report.format.confidence:.0%} sure), "
            f"{report.task}{'' if report.tokens is None else f', {report.tokens.total:,} tokens'}"
        )
    )
    names = max(len(finding.check) for finding in report.findings)
    room = max(20, console.width - _VERDICT_WIDTH - names - 2)
    for finding in sorted(report.findings, key=lambda each: _ORDER.index(each.verdict.value)):
        verdict = finding.verdict.value
        if verdict == "pass" and not every:
            continue
        head = Text.assemble(
            (f"{verdict:<{_VERDICT_WIDTH}} ", _COLOURS[verdict]), (f"{finding.check:<{names}} ", "bold")
        )
        for said in _finding_lines(report, finding, room, console):
            console.print(head + said, no_wrap=True, overflow="ignore", crop=False)
            head = Text(" " * len(head))
    if not every:
        _print_passed(report, console)
    console.print(_ending(report))


def _print_passed(report: CheckReport, console: Console) -> None:
    """Print the names of the checks that passed, and the counts of the classes if theirs is among them."""
    passed = [finding for finding in report.findings if finding.verdict.value == "pass"]
    head = Text(f"{'pass':<{_VERDICT_WIDTH}} ", _COLOURS["pass"])
    room = max(20, console.width - len(head))
    if passed:
        for line in _wrap_finding(", ".join(finding.check for finding in passed), "", room, console):
            console.print(head + line, no_wrap=True, overflow="ignore", crop=False)
            head = Text(" " * len(head))
    if any(finding.check == "classes" for finding in passed) and (counts := _class_counts(report)):
        for line in _wrap_finding(counts, "dim", room, console):
            console.print(head + line, no_wrap=True, overflow="ignore", crop=False)


def _class_counts(report: CheckReport) -> str:
    if not report.classes or len(report.classes) > CLASSES_SHOWN:
        return ""
    return ", ".join(f"{name} {count:,}" for name, count in report.classes.items())


def _finding_lines(report: CheckReport, finding: Finding, room: int, console: Console) -> Iterator[Text]:
    """Yield the lines of the last column."""
    yield from _wrap_finding(finding.message, "", room, console)
    if finding.verdict.value != "pass":
        # Ten places with one e-mail address are one problem.
        places = Counter(evidence.told(report.numbering.words) for evidence in finding.evidence)
        for text, times in list(places.items())[:EVIDENCE_SHOWN]:
            shown = f"{text} ({times} times)" if times > 1 else text
            yield from _wrap_finding(shown, "dim", room, console, most=EVIDENCE_LINES)
        if len(places) > EVIDENCE_SHOWN:
            more = f"and {max(len(places), finding.count) - EVIDENCE_SHOWN:,} more; --json lists every line"
            yield from _wrap_finding(more, "dim", room, console)
        if finding.fix:
            yield from _wrap_finding(f"→ {finding.fix}", "", room, console)
    if finding.check == "classes" and (counts := _class_counts(report)):
        yield from _wrap_finding(counts, "dim", room, console)


def _wrap_finding(text: str, style: str, room: int, console: Console, *, most: int | None = None) -> Iterator[Text]:
    plain = " ".join(each if each.isprintable() else ascii(each)[1:-1] for each in text.split())
    lines = Text(plain, style=style).wrap(console, room, tab_size=1)
    for number, line in enumerate(lines[:most], start=1):
        line.rstrip()
        if number == most and len(lines) > number:
            line.truncate(room - 1)
            line.append("…")
        yield line


def _ending(report: CheckReport) -> Text:
    verdicts = Counter(finding.verdict.value for finding in report.findings)
    words = {"fail": ("{} failed", "red"), "warn": (counted(verdicts["warn"], "warning"), "yellow")}
    told = [(text.format(verdicts[which]), colour) for which, (text, colour) in words.items() if verdicts[which]]
    if not told:
        return Text("every check passed", style="green")
    ending = Text()
    for text, colour in told:
        ending.append(text, style=colour).append(", ")
    return ending.append(f"{verdicts['pass']} passed")
