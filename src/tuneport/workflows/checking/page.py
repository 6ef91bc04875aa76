"""The check's report as one HTML file: no network, no script, light and dark, made to be read and printed."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tuneport.data.checks.finding import Places
from tuneport.data.running.writing import publish_output_file, temporary_file
from tuneport.pages.charts import draw_bar_chart, draw_histogram
from tuneport.pages.frame import render_html_page as page_of
from tuneport.pages.text import html_text

if TYPE_CHECKING:
    from tuneport.data.checks.report import CheckReport

_WORDS = {"pass": "good enough", "warn": "worth a look", "fail": "not ready"}
_SHOWN_WITH_MARKS = ("shortest", "median", "p95", "longest", "context")
EVIDENCE_AT_ONCE = 3  # the rest is behind a click, and on paper
_PAGE = Path(__file__).with_name("report.html")


def write_check_html(report: CheckReport, path: Path) -> None:
    """Write the report as a file, whole or not at all. Raises StorageError if it cannot be written."""
    with temporary_file(path.parent) as (file, temporary):
        file.write(render_check_page(report).encode("utf-8"))
        publish_output_file(file, temporary, path)


def render_check_page(report: CheckReport) -> str:
    """Return the whole document. Everything that comes from the dataset is escaped, and the page forbids scripts
    anyway."""
    name = report.path.name
    parts = check_page_parts(report, name) | {"path": html_text(str(report.path))}
    return page_of(f"{name}: data check", _PAGE, parts)


def check_page_parts(report: CheckReport, name: str) -> dict[str, str]:
    """Return the parts of a page about the dataset, as HTML in which all of the dataset's own text is escaped."""
    document = report.as_dict()
    findings: list[dict[str, Any]] = document["findings"]
    details = {finding["check"]: finding.get("details") or {} for finding in findings}
    verdicts = [finding["verdict"] for finding in findings]
    overall = next((verdict for verdict in ("fail", "warn") if verdict in verdicts), "pass")
    counts = ", ".join(f"{verdicts.count(verdict)} {verdict}" for verdict in ("fail", "warn", "pass"))
    facts = [
        ("records", f"{document['rows']:,}"),
        ("format", f"{document['format']['format']} ({document['format']['confidence']:.0%} sure)"),
        ("task", document["task"]),
        ("method", document["method"]),
        ("tokens", f"{'about ' if document['tokens'].get('approximate') else ''}{document['tokens']['total']:,}"),
    ]
    return {
        "name": html_text(name, 200),
        "verdict": overall,
        "words": _WORDS[overall],
        "counts": counts,
        "facts": "".join(f"<div><dt>{name}</dt><dd>{html_text(value)}</dd></div>" for name, value in facts),
        "rows": "".join(_finding(finding) for finding in findings),
        "charts": _charts(details, document.get("classes"), report.numbering.words),
    }


def _finding(finding: Mapping[str, Any]) -> str:
    verdict = finding["verdict"]
    evidence = [f"<li>{_place(each['at'])}{html_text(each['text'])}</li>" for each in finding["evidence"]]
    body = f"<p>{html_text(finding['message'])}</p>"
    if finding.get("fix") and verdict != "pass":
        body += f'<p class="fix">{html_text(finding["fix"])}</p>'
    at_once = EVIDENCE_AT_ONCE if verdict != "pass" else 0
    if evidence[:at_once]:
        body += f"<ul>{''.join(evidence[:at_once])}</ul>"
    if evidence[at_once:]:
        word = "more" if at_once else "evidence"
        body += f"<details><summary>{len(evidence[at_once:])} {word}</summary>"
        body += f"<ul>{''.join(evidence[at_once:])}</ul></details>"
    return (
        f'<section class="finding {verdict}"><div class="verdict">{verdict}</div>'
        f"<div><h3>{html_text(finding['check'])}</h3>{body}</div></section>"
    )


def _place(at: str) -> str:
    return f'<b class="line">{html_text(at)}</b> ' if at else ""


def _charts(details: Mapping[str, Mapping[str, Any]], classes: Mapping[str, int] | None, words: Places) -> str:
    """Return the charts for which the findings have numbers."""
    none: dict[str, Any] = {}
    lengths, diversity = details.get("lengths", none), details.get("diversity", none)
    marks = {name: lengths[name] for name in _SHOWN_WITH_MARKS if lengths.get(name)}
    balance = details.get("classes", none)
    counts = balance.get("classes") or classes or {}
    parts = [
        _chart("Lengths", draw_histogram(lengths.get("histogram") or (), _pointed_at(marks)), _length_words(marks)),
        _chart("Topics", _clusters(diversity.get("clusters") or (), words)),
        _chart("Classes", _counts(counts, "classes"), _balance_words(balance)),
        _chart("Languages", _shares(diversity.get("languages") or {}, "languages")),
        _chart("Personal data by kind", _counts(details.get("personal", none).get("kinds") or {}, "personal data")),
        _chart("Signs of generated data", _shares(_numbers(details.get("generated", none)), "generated data")),
    ]
    return "".join(parts)


def _chart(title: str, drawn: str, words: str = "") -> str:
    if not drawn and not words:
        return ""
    told = f'<p class="quiet">{words}</p>' if words else ""
    return f'<section class="chart"><h3>{title}</h3>{drawn}{told}</section>'


def _pointed_at(marks: Mapping[str, int]) -> dict[str, int]:
    return {name: marks[name] for name in ("median", "p95", "context") if name in marks}


def _length_words(marks: Mapping[str, int]) -> str:
    names = {"p95": "95 % are up to"}
    return ", ".join(f"{names.get(name, name)} {value:,}" for name, value in marks.items())


def _balance_words(balance: Mapping[str, Any]) -> str:
    if "entropy_bits" not in balance:
        return ""
    return f"entropy {balance['entropy_bits']:.2f} bits, evenness {balance.get('evenness', 0):.2f} (1 is all alike)"


def _clusters(clusters: Any, words: Places) -> str:
    rows = "".join(
        f"<li><b>{html_text(', '.join(str(term) for term in cluster.get('terms', ())), 300)}</b> "
        f'<span class="quiet">{_place(words([cluster["line"]]) if cluster.get("line") else "")}'
        f"{html_text(cluster.get('example', ''), 300)}</span></li>"
        for cluster in clusters
    )
    if not rows:
        return ""
    named = [
        (
            ", ".join(str(term) for term in cluster.get("terms", ())[:3]) or "(no terms)",
            float(cluster.get("share", 0)),
            f"{cluster.get('share', 0):.0%} · {cluster.get('rows', 0):,}",
        )
        for cluster in clusters
    ]
    chart = draw_bar_chart(named, label="topics")
    return f"{chart}<details><summary>key terms and examples</summary><ul>{rows}</ul></details>"


def _counts(counts: Mapping[str, int], label: str) -> str:
    total = sum(counts.values()) or 1
    ordered = sorted(counts.items(), key=lambda pair: -pair[1])
    return draw_bar_chart([(name, count, f"{count:,} · {count / total:.0%}") for name, count in ordered], label=label)


def _shares(shares: Mapping[str, float], label: str) -> str:
    ordered = sorted(shares.items(), key=lambda pair: -pair[1])
    return draw_bar_chart([(name, share, f"{share:.1%}") for name, share in ordered], label=label)


def _numbers(details: Mapping[str, Any]) -> dict[str, float]:
    """Return the shares among a finding's details: numbers from 0 to 1, at the top or in a table of their own."""
    found: dict[str, float] = {}
    for name, value in details.items():
        if isinstance(value, Mapping):
            found |= _numbers(value)
        elif isinstance(value, float) and 0 <= value <= 1:
            found[name.replace("_", " ")] = value
    return found
