"""The console and tables of commands. Text of others is shown, and interpreted neither by a terminal nor by rich.

Only `output` imports this. Text that a command prints may come from a provider, a dataset, a model or a file's name.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from rich.console import Console, RenderableType
from rich.segment import Segment
from rich.table import Table

from tuneport.cli.views.live_line import make_way_for
from tuneport.cli.views.plain_text import escape_markup, terminal_text


class SafeConsole(Console):
    """A console that escapes control sequences in text."""

    def _render_buffer(self, buffer: Iterable[Segment]) -> str:
        """Clean what the console writes; every text passes through here."""
        rendered = super()._render_buffer(_harmless(segment) for segment in buffer)
        make_way_for(rendered)
        return rendered


class PlainTable(Table):
    """A table that shows cells of type `str` without markup."""

    def add_row(self, *cells: RenderableType | None, **options: Any) -> None:
        super().add_row(*(escape_markup(cell) if isinstance(cell, str) else cell for cell in cells), **options)


def _harmless(segment: Segment) -> Segment:
    if segment.control:
        return segment  # rich's own control codes: they move the cursor or clear a line
    style = segment.style
    if style is not None and style.link:
        style = style.update_link(None)  # show the address itself
    return Segment(terminal_text(segment.text), style)
