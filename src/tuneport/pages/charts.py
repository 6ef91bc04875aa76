"""Bars and histograms: inline SVG in the colours of the page, each with its numbers as text beside it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

from tuneport.pages.text import html_text

MAX_BARS = 20
_WIDTH, _HEIGHT, _FOOT = 480, 170, 22
_TICKS = 6


def draw_bar_chart(rows: Sequence[tuple[str, float, str]], *, label: str) -> str:
    """Draw horizontal bars: (name, size, the size in words), the largest filling the width; the first MAX_BARS of
    them."""
    if not rows:
        return ""
    largest = max(size for _, size, _ in rows) or 1
    lines = [
        f'<tr><th scope="row">{html_text(name, 200)}</th>'
        '<td class="bar"><svg width="100%" height="14" aria-hidden="true">'
        f'<rect width="{100 * size / largest:.2f}%" height="14" rx="2"/></svg></td>'
        f'<td class="number">{html_text(words)}</td></tr>'
        for name, size, words in rows[:MAX_BARS]
    ]
    more = f'<p class="quiet">and {len(rows) - MAX_BARS:,} more</p>' if len(rows) > MAX_BARS else ""
    return f'<table class="bars" aria-label="{escape(label, quote=True)}">{"".join(lines)}</table>{more}'


def draw_histogram(bins: Sequence[Mapping[str, int]], marks: Mapping[str, int]) -> str:
    """Draw rows by length: `bins` are {"up_to": tokens, "rows": n}, rising; `marks` names lengths to point at, in
    tokens.

    Every bin has the same width on the page, whatever it spans, so that lengths over several magnitudes can be seen.
    """
    if not bins:
        return ""
    most = max(each["rows"] for each in bins) or 1
    step = _WIDTH / len(bins)
    drawn: list[str] = []
    before = 0
    every = max(1, -(-len(bins) // _TICKS))
    for index, each in enumerate(bins):
        height = (_HEIGHT - 24) * each["rows"] / most
        where = f'x="{index * step + 1:.1f}" y="{_HEIGHT - height:.1f}" width="{max(1.0, step - 2):.1f}"'
        title = f"{before:,} to {each['up_to']:,} tokens: {each['rows']:,} rows"
        drawn.append(f'<rect {where} height="{height:.1f}" rx="1"><title>{title}</title></rect>')
        if index % every == every - 1 or len(bins) <= _TICKS:
            at = (index + 1) * step
            anchor = "end" if at > _WIDTH - 20 else "middle"
            drawn.append(f'<text x="{at:.1f}" y="{_HEIGHT + 15}" text-anchor="{anchor}">{each["up_to"]:,}</text>')
        before = each["up_to"]
    for row, (name, tokens) in enumerate(marks.items()):
        at = _place(tokens, bins) * step
        anchor, beside = ("end", at - 4) if at > _WIDTH * 0.75 else ("start", at + 4)
        y = 10 + 12 * (row % 2)
        drawn.append(f'<line x1="{at:.1f}" x2="{at:.1f}" y1="0" y2="{_HEIGHT}"/>')
        drawn.append(
            f'<text class="mark" x="{beside:.1f}" y="{y}" text-anchor="{anchor}">{escape(name)} {tokens:,}</text>'
        )
    return (
        f'<svg class="histogram" viewBox="0 0 {_WIDTH} {_HEIGHT + _FOOT}" role="img" '
        f'aria-label="rows by tokens; the fullest bin holds {most:,} rows">{"".join(drawn)}</svg>'
        f'<p class="quiet">Rows by tokens, each bar up to the number at its right edge; the tallest: {most:,}.</p>'
    )


def _place(tokens: int, bins: Sequence[Mapping[str, int]]) -> float:
    """Return the position of a length, in bins from the left; the right edge for what is beyond the last."""
    low = 0
    for index, each in enumerate(bins):
        high = each["up_to"]
        if tokens <= high:
            return index + (tokens - low) / max(1, high - low)
        low = high
    return float(len(bins))
