"""The table of a listing: no id, backend or status is ever cut; on a narrow terminal whole columns are left out."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tuneport.cli.views import output

if TYPE_CHECKING:
    from rich.text import Text

_GAP = 2
_LEAST_CUT_WIDTH = 20
"""The least width of a column that can be cut or wrapped, in characters."""


@dataclass(frozen=True)
class Column:
    """A column of a listing. On a terminal that is too narrow, those of the highest `rank` are left out first, and
    never those of rank 0. The words of one with `cut` end in an ellipsis there, those of one with `wrap` go on below.
    """

    name: str
    rank: int = 0
    right: bool = False
    cut: bool = False
    wrap: bool = False

    @property
    def shrinks(self) -> bool:
        return self.cut or self.wrap


@dataclass
class CommandTable:
    """A listing's rows, one cell a column. A cell is plain text; a styled one is a `rich.text.Text`."""

    columns: tuple[Column, ...]
    rows: list[tuple[str | Text, ...]] = field(default_factory=list)

    @property
    def whole(self) -> bool:
        """Return whether everything is shown at its full length: in a pipe, with --wide and with --tsv."""
        return output.as_tsv or output.wide or not sys.stdout.isatty()

    def add_row(self, *cells: str | Text) -> None:
        self.rows.append(cells)

    def print(self) -> None:
        """Print the table on stdout; a note on stderr names the columns that were left out."""
        if output.as_tsv:
            for line in ([column.name for column in self.columns], *self.rows):
                output.print_text("\t".join(output.terminal_line(cell) for cell in line) + "\n")
            return
        widths = self._natural_widths()
        room = None if self.whole else output.console().width
        shown = list(range(len(self.columns)))
        while room is not None and self._least_width(shown, widths) > room:
            droppable = [number for number in shown if self.columns[number].rank > 0]
            if not droppable:
                break
            shown.remove(max(droppable, key=lambda number: (self.columns[number].rank, number)))
        self._shrink(shown, widths, room)
        self._draw(shown, widths)
        left_out = [column.name for number, column in enumerate(self.columns) if number not in shown]
        if left_out:
            output.print_note(f"left out: {', '.join(left_out)}; --wide shows all")

    def _natural_widths(self) -> list[int]:
        from rich.cells import cell_len

        lines = ([column.name for column in self.columns], *self.rows)
        return [max(cell_len(output.terminal_line(line[number])) for line in lines) for number in self._numbers()]

    def _numbers(self) -> range:
        return range(len(self.columns))

    def _least_width(self, shown: list[int], widths: list[int]) -> int:
        least = (min(widths[each], _LEAST_CUT_WIDTH) if self.columns[each].shrinks else widths[each] for each in shown)
        return sum(least) + _GAP * (len(shown) - 1)

    def _shrink(self, shown: list[int], widths: list[int], room: int | None) -> None:
        """Take from the widest column that can shrink until the rest fits."""
        while room is not None and sum(widths[each] for each in shown) + _GAP * (len(shown) - 1) > room:
            wide = [number for number in shown if self.columns[number].shrinks and widths[number] > _LEAST_CUT_WIDTH]
            if not wide:
                return
            widths[max(wide, key=lambda number: widths[number])] -= 1

    def _draw(self, shown: list[int], widths: list[int]) -> None:
        table = output.console_table()
        for number in shown:
            column = self.columns[number]
            table.add_column(
                column.name,
                width=widths[number],
                justify="right" if column.right else "left",
                no_wrap=not column.wrap,
                overflow="fold" if column.wrap else "ellipsis",
            )
        for row in self.rows:
            table.add_row(*(row[number] for number in shown))
        needed = sum(widths[number] for number in shown) + _GAP * len(shown)
        output.console(width=max(needed, output.console().width)).print(table)
