"""The list of all commands, as typer's own help looks, without the commands.

`typer.rich_utils` would import each command, and a parser of Markdown and Pygments for what is plain text here.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.panel import Panel
    from rich.text import Text
    from typer.core import TyperGroup


def print_command_list(group: TyperGroup, context: Any, panels: Mapping[str, Mapping[str, str]]) -> None:
    """Print the group's help, its options and its commands, each with its line, a panel a title. The bytes are those
    of `typer.rich_utils.rich_format_help`."""
    from rich.columns import Columns
    from rich.console import Console
    from rich.markup import escape
    from rich.padding import Padding
    from rich.table import Column, Table
    from rich.text import Text

    width, forced = os.environ.get("TERMINAL_WIDTH"), ("GITHUB_ACTIONS", "FORCE_COLOR", "PY_COLORS")
    console = Console(
        highlight=False,
        width=int(width) if width else None,
        force_terminal=True if any(map(os.environ.get, forced)) else None,
    )
    usage = _styled(escape(group.get_usage(context)))
    usage.highlight_words(["Usage: "], "yellow")
    console.print(Padding(usage, 1), style="bold")
    console.print(Padding(_styled(group.help or ""), (0, 1, 1, 1)))
    options = Table(show_header=False, expand=True, box=None, pad_edge=False)
    option: Any  # typer's own class, which is not public
    for option in group.get_params(context):
        long, short = (",".join(name for name in option.opts if ("--" in name) == is_long) for is_long in (True, False))
        options.add_row(_styled(long), _styled(short), "", "", "", Columns([_styled(option.help)]))
    console.print(_panel("Options", options))
    longest = max(len(name) for commands in panels.values() for name in commands)
    for title, commands in panels.items():
        first = Column(style="bold cyan", no_wrap=True, width=longest)
        listed = Table(first, Column(ratio=1), show_header=False, expand=True, box=None, pad_edge=False)
        for name, line in commands.items():
            listed.add_row(Text(name), _styled(line))
        console.print(_panel(title, listed))


def _styled(markup: str) -> Text:
    from rich.text import Text

    text = Text.from_markup(markup, emoji=False)
    text.highlight_regex(r"(?<!\w)-\w+(?![a-zA-Z0-9])", "bold green")
    text.highlight_regex(r"(?<!\w)--[\w-]+(?![a-zA-Z0-9])", "bold cyan")
    return text


def _panel(title: str, content: RenderableType) -> Panel:
    from rich.panel import Panel

    return Panel(content, border_style="dim", title=title, title_align="left")
