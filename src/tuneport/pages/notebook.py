"""The view of a result in a notebook: a piece of HTML that takes the notebook's own colours and fits a narrow cell."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import islice
from typing import Literal

from tuneport.pages.text import html_text

Verdict = Literal["pass", "warn", "fail", "note"]

MOST_ROWS = 12
MOST_NOTES = 5
_STYLE = """
.tuneport-view { max-width: 62rem; font: 14px/1.45 system-ui, sans-serif; overflow-wrap: anywhere; }
.tuneport-view b.title { font-size: 1.1rem; margin-right: .6rem; }
.tuneport-view .pass { color: #2f9e5f; } .tuneport-view .warn { color: #b07d12; }
.tuneport-view .fail { color: #d6453a; }
.tuneport-view .note, .tuneport-view dt, .tuneport-view p { opacity: .75; }
.tuneport-view dl { display: flex; flex-wrap: wrap; gap: .3rem 1.6rem; margin: .5rem 0; }
.tuneport-view dt { font-size: .85em; font-weight: 400; } .tuneport-view dd { margin: 0; font-weight: 600; }
.tuneport-view .wide { overflow-x: auto; }
.tuneport-view table { border-collapse: collapse; margin: .3rem 0; font-variant-numeric: tabular-nums; }
.tuneport-view th, .tuneport-view td { text-align: left; vertical-align: top; padding: .2rem .8rem .2rem 0;
  border-top: 1px solid color-mix(in srgb, currentColor 20%, transparent); background: none; }
.tuneport-view th { font-weight: 600; overflow-wrap: normal; } .tuneport-view td { white-space: nowrap; }
.tuneport-view td.long { white-space: normal; min-width: 9rem; }
.tuneport-view p { margin: .2rem 0; }
"""
_LONG = 16
"""Characters of a cell that is a sentence, and wraps; shorter ones are names and numbers."""


def render_notebook_view(
    title: str,
    facts: Iterable[tuple[str, object]] = (),
    *,
    ruling: tuple[str, Verdict] | None = None,
    head: Sequence[str] = (),
    rows: Iterable[Sequence[object]] = (),
    marks: Sequence[Verdict] = (),
    notes: Iterable[str] = (),
) -> str:
    """Return the HTML of a result. All that is given is text, and is escaped.

    `head` and `rows` are a table, of which `MOST_ROWS` are shown; `marks` colour the first cell of each row.
    """
    ruled = "" if ruling is None else f' <b class="{ruling[1]}">{html_text(ruling[0], 200)}</b>'
    listed = "".join(f"<div><dt>{html_text(name)}</dt><dd>{html_text(value, 300)}</dd></div>" for name, value in facts)
    told = "".join(f"<p>{html_text(note, 600)}</p>" for note in islice(notes, MOST_NOTES))
    return (
        f'<div class="tuneport-view"><style>{_STYLE}</style><div>'
        f'<b class="title">{html_text(title, 300)}</b>{ruled}</div>'
        f"{f'<dl>{listed}</dl>' if listed else ''}{_table(head, list(rows), marks)}{told}</div>"
    )


def _table(head: Sequence[str], rows: Sequence[Sequence[object]], marks: Sequence[Verdict]) -> str:
    if not rows:
        return ""
    parts = []
    for place, row in enumerate(rows[:MOST_ROWS]):
        mark = f' class="{marks[place]}"' if place < len(marks) else ""
        cells = "".join(
            f"<td{' class=long' if len(str(cell)) > _LONG else ''}>{html_text(cell, 400)}</td>" for cell in row[1:]
        )
        parts.append(f'<tr><th scope="row"{mark}>{html_text(row[0], 300)}</th>{cells}</tr>')
    if len(rows) > MOST_ROWS:
        parts.append(f'<tr><td colspan="{len(head)}">and {len(rows) - MOST_ROWS} more</td></tr>')
    names = "".join(f'<th scope="col">{html_text(name)}</th>' for name in head)
    return f'<div class="wide"><table><thead><tr>{names}</tr></thead><tbody>{"".join(parts)}</tbody></table></div>'
