"""A whole page from a body with gaps: the head and the style that all pages share, and no way out of the page."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from tuneport.pages.text import escape_html

STYLE = Path(__file__).with_name("page.css")
"""What all pages look like; the dashboard's begin with it, too."""
_FRAME = Path(__file__).with_name("frame.html")


def render_html_page(title: str, template: Path, parts: Mapping[str, str]) -> str:
    """Return the page: `template` with its {{gaps}} filled by `parts`, which are HTML already. The page forbids
    scripts."""
    body = _filled(template.read_text(encoding="utf-8"), parts)
    around = {"title": escape_html(title, 200), "style": STYLE.read_text(encoding="utf-8"), "body": body}
    return _filled(_FRAME.read_text(encoding="utf-8"), around)


def _filled(template: str, parts: Mapping[str, str]) -> str:
    # One pass over the template's own pieces, so that a text which holds such a mark is not filled in.
    first, *pieces = template.split("{{")
    filled = [first]
    for piece in pieces:
        name, _, rest = piece.partition("}}")
        filled += [parts[name], rest]
    return "".join(filled)
