"""The check's report as one HTML file: no network, no script, light and dark, made to be read and printed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tuneport.data.checks.finding import Places
from tuneport.data.checks.rows.words.language_names import LANGUAGE_NAMES
from tuneport.data.running.writing import publish_output_file, temporary_file
from tuneport.pages.charts import Histogram
from tuneport.pages.templates import render_template

if TYPE_CHECKING:
    from tuneport.data.checks.report import CheckReport

_WORDS = {"pass": "good enough", "warn": "worth a look", "fail": "not ready"}
_SHOWN_WITH_MARKS = ("shortest", "median", "p95", "longest", "context")
_POINTED_AT = ("median", "p95", "context")
Bar = tuple[str, float, str]
"""A name, its size, and the size in words."""


@dataclass(frozen=True)
class CheckChart:
    """Numbers of the dataset, drawn. `words` tell the most important of them."""

    title: str
    words: str = ""
    bars: Sequence[Bar] = ()
    histogram: Histogram | None = None
    clusters: Sequence[Mapping[str, Any]] = ()


def write_check_html(report: CheckReport, path: Path) -> None:
    """Write the report as a file, whole or not at all. Raises StorageError if it cannot be written."""
    with temporary_file(path.parent) as (file, temporary):
        file.write(render_check_page(report).encode("utf-8"))
        publish_output_file(file, temporary, path)


def render_check_page(report: CheckReport) -> str:
    """Return the whole document. Everything that comes from the dataset is escaped, and the page forbids scripts
    anyway."""
    name = report.path.name
    parts = check_page_parts(report)
    return render_template(
        "workflows/checking/report.html", title=f"{name}: data check", name=name, path=report.path, **parts
    )


def check_page_parts(report: CheckReport) -> dict[str, Any]:
    """Return what a page about the dataset shows, for the macros of `parts.html`."""
    document, tokens = report.as_dict(), report.tokens
    findings: list[dict[str, Any]] = document["findings"]
    verdicts = [finding["verdict"] for finding in findings]
    overall = next((verdict for verdict in ("fail", "warn") if verdict in verdicts), "pass")
    return {
        "verdict": overall,
        "words": _WORDS[overall],
        "counts": ", ".join(f"{verdicts.count(verdict)} {verdict}" for verdict in ("fail", "warn", "pass")),
        "facts": [
            ("records", f"{document['rows']:,}"),
            ("format", f"{document['format']['format']} ({document['format']['confidence']:.0%} sure)"),
            ("task", document["task"]),
            ("method", document["method"]),
            *([] if tokens is None else [("tokens", f"{'about ' if tokens.approximate else ''}{tokens.total:,}")]),
        ],
        "findings": findings,
        "charts": _charts(findings, document.get("classes"), report.numbering.words),
    }


def _charts(
    findings: Sequence[Mapping[str, Any]], classes: Mapping[str, int] | None, words: Places
) -> list[CheckChart]:
    """Return the charts that the findings have numbers for."""
    none: dict[str, Any] = {}
    details = {finding["check"]: finding.get("details") or none for finding in findings}
    lengths, diversity = details.get("lengths", none), details.get("diversity", none)
    marks = {name: lengths[name] for name in _SHOWN_WITH_MARKS if lengths.get(name)}
    bins, pointed_at = lengths.get("histogram"), {name: marks[name] for name in _POINTED_AT if name in marks}
    balance = details.get("classes", none)
    clusters = [_cluster(each, words) for each in diversity.get("clusters") or ()]
    drawn = [
        CheckChart("Lengths", _length_words(marks), histogram=Histogram(bins, pointed_at) if bins else None),
        CheckChart("Topics", bars=[each["bar"] for each in clusters], clusters=clusters),
        CheckChart("Classes", _balance_words(balance), _counts(balance.get("classes") or classes or {})),
        CheckChart("Languages", bars=_shares(_language_names(diversity.get("languages") or {}))),
        CheckChart("Personal data by kind", bars=_counts(details.get("personal", none).get("kinds") or {})),
        CheckChart("Signs of generated data", bars=_shares(_numbers(details.get("generated", none)))),
    ]
    return [chart for chart in drawn if chart.histogram or chart.bars or chart.words]


def _language_names(shares: Mapping[str, float]) -> dict[str, float]:
    return {LANGUAGE_NAMES.get(code, code): share for code, share in shares.items()}


def _length_words(marks: Mapping[str, int]) -> str:
    names = {"p95": "95 % are up to"}
    return ", ".join(f"{names.get(name, name)} {value:,}" for name, value in marks.items())


def _balance_words(balance: Mapping[str, Any]) -> str:
    if "entropy_bits" not in balance:
        return ""
    return f"entropy {balance['entropy_bits']:.2f} bits, evenness {balance.get('evenness', 0):.2f} (1 is all alike)"


def _cluster(cluster: Mapping[str, Any], words: Places) -> dict[str, Any]:
    terms = [str(term) for term in cluster.get("terms", ())]
    share = cluster.get("share", 0)
    return {
        "bar": (", ".join(terms[:3]) or "(no terms)", float(share), f"{share:.0%} · {cluster.get('rows', 0):,}"),
        "terms": ", ".join(terms),
        "at": words([cluster["line"]]) if cluster.get("line") else "",
        "example": cluster.get("example", ""),
    }


def _counts(counts: Mapping[str, int]) -> list[Bar]:
    total = sum(counts.values()) or 1
    ordered = sorted(counts.items(), key=lambda pair: -pair[1])
    return [(name, count, f"{count:,} · {count / total:.0%}") for name, count in ordered]


def _shares(shares: Mapping[str, float]) -> list[Bar]:
    return [(name, share, f"{share:.1%}") for name, share in sorted(shares.items(), key=lambda pair: -pair[1])]


def _numbers(details: Mapping[str, Any]) -> dict[str, float]:
    """Return the shares among a finding's details: numbers from 0 to 1, at the top or in a table of their own."""
    found: dict[str, float] = {}
    for name, value in details.items():
        if isinstance(value, Mapping):
            found |= _numbers(value)
        elif isinstance(value, float) and 0 <= value <= 1:
            found[name.replace("_", " ")] = value
    return found
