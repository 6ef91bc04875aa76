"""The templates of all pages, in one environment: what they write is escaped, cut, and free of control characters."""

from __future__ import annotations

import re
from datetime import UTC
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tuneport.formatting import ago, duration, money, number, since, size

if TYPE_CHECKING:
    from jinja2 import Environment
    from markupsafe import Markup

STYLE = Path(__file__).with_name("page.css")
"""What all pages look like; the dashboard's begin with it, too."""
_PACKAGE = Path(__file__).parents[1]
_LONGEST_TEXT = 20_000
_UNPRINTABLE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")


@cache
def page_templates() -> Environment:
    """Return the environment. A template lies beside the module that uses it; its name is its path in the package."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    templates = Environment(
        loader=FileSystemLoader(_PACKAGE), autoescape=True, undefined=StrictUndefined, finalize=_finalized
    )
    templates.filters.update(
        money=money,
        duration=duration,
        number=number,
        ago=ago,
        since=since,
        size=size,
        cut=printable_text,
        utc=lambda moment: moment.astimezone(UTC),
    )
    return templates


def render_template(template: str, /, **context: Any) -> Markup:
    """Return the filled template, as markup that other templates take as it is."""
    from markupsafe import Markup

    return Markup(page_templates().get_template(template).render(context))


def printable_text(value: object, most: int = 2000) -> str:
    """Return any value as text of at most `most` characters; what has no place in a document (controls, half
    surrogates) is U+FFFD."""
    plain = str(value)
    return _UNPRINTABLE.sub("\ufffd", plain if len(plain) <= most else f"{plain[:most]}…")


def _finalized(value: Any) -> Any:
    if value is None:
        return ""
    return value if hasattr(value, "__html__") else printable_text(value, _LONGEST_TEXT)
