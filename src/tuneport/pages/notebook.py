"""The view of a result in a notebook: a piece of HTML that takes the notebook's own colours and fits a narrow cell."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import islice
from typing import Literal

from tuneport.pages.templates import render_template

Verdict = Literal["pass", "warn", "fail", "note"]

MOST_ROWS = 13
MOST_NOTES = 5
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

    `head` and `rows` are a table; `MOST_ROWS` rows are shown; `marks` colour the first cell of each row.
    """
    every = list(rows)
    return render_template(
        "pages/notebook.html",
        title=title,
        facts=list(facts),
        ruling=ruling,
        head=head,
        rows=every[:MOST_ROWS],
        more=max(0, len(every) - MOST_ROWS),
        marks=marks,
        notes=list(islice(notes, MOST_NOTES)),
        long=_LONG,
    )
