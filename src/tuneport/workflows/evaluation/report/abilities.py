"""The section on abilities: what the tuned model kept of its base's general abilities, and what it lost."""

from __future__ import annotations

from tuneport.pages.text import escape_html, html_text
from tuneport.scoring.general.comparison import GeneralAbilityChange, GeneralAbilityComparison
from tuneport.workflows.evaluation.report.scores import render_interval
from tuneport.workflows.evaluation.words import format_p_value

_KINDS = {"better": "pass", "no difference shown": "note", "nothing to lose": "note"}
_MOST_LOST = 10


def render_abilities(general: GeneralAbilityComparison | None) -> str:
    if general is None:
        return ""
    heads = ("ability", "base", "tuned", "0 % to 100 %: base, tuned", "difference")
    head = "".join(f'<th scope="col">{name}</th>' for name in heads)
    rows = "".join(map(_row, general.changes))
    return (
        f"<h2>Forgetting and safety</h2><p>{html_text(general.sentence)}</p>"
        f'<table class="options scores abilities"><thead><tr>{head}</tr></thead>{rows}</table>{_lost(general)}'
        '<p class="quiet">Right answers to the built-in general questions, with 95 % intervals; p by McNemar\'s exact '
        "test, corrected for all lines (Holm).</p>"
    )


def _row(change: GeneralAbilityChange) -> str:
    (low, high), (least, most) = change.base.interval, change.tuned.interval
    drawn = render_interval(change.base.share, low, high, 0, 1, "base") + render_interval(
        change.tuned.share, least, most, 0, 1, "tuned"
    )
    moved = change.difference
    told = f"{moved.value:+.0%} ({moved.low:+.0%} to {moved.high:+.0%})"
    kind = _KINDS.get(change.verdict, "fail")
    cells = [
        ("base", f"{change.base.right} of {change.base.total}, {change.base.share:.0%} ({low:.0%} to {high:.0%})"),
        (
            "tuned",
            f"{change.tuned.right} of {change.tuned.total}, {change.tuned.share:.0%} ({least:.0%} to {most:.0%})",
        ),
        ("on a line", drawn),
        (
            "difference",
            f'<span class="{kind}"><b class="verdict">{change.verdict}</b></span> {told} '
            f'<span class="quiet">{format_p_value(moved.adjusted_p)}</span>',
        ),
    ]
    each = "".join(f'<td data-name="{name}"><div>{cell}</div></td>' for name, cell in cells)
    way = f'<br><span class="quiet">{escape_html(change.way)}, by chance {change.chance:.0%}</span>'
    return f'<tbody><tr><th scope="row">{escape_html(change.ability)}{way}</th>{each}</tr></tbody>'


def _lost(general: GeneralAbilityComparison) -> str:
    # The first line is all abilities together: its items are in the others, too.
    lost = [item for change in general.changes[1:] for item in change.lost]
    if not lost:
        return ""
    listed = "".join(
        f"<li>{html_text(item.ask, 300)}<br>{html_text(item.answer, 300)}</li>" for item in lost[:_MOST_LOST]
    )
    more = f'<p class="quiet">and {len(lost) - _MOST_LOST:,} more</p>' if len(lost) > _MOST_LOST else ""
    return f"<details><summary>{len(lost):,} that only the base got right</summary><ul>{listed}</ul>{more}</details>"
