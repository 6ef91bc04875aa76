"""Finds, counts and locates the content that a format cannot hold."""

from __future__ import annotations

import msgspec

from tuneport.data.containers.numbering import RowNumbering
from tuneport.data.formats.contract import DatasetFormat, Unrepresentable, row_round_trips
from tuneport.data.rows.records import Chat, Record
from tuneport.errors import ConversionLoss

FIRST_LINES = 5


class ConversionLossReport:
    """Counts what is lost, by field and reason: the number of records and the first lines."""

    def __init__(self) -> None:
        self._found: dict[Unrepresentable, tuple[int, list[int]]] = {}

    def add(self, line: int, lost: list[Unrepresentable]) -> None:
        for loss in dict.fromkeys(lost):
            self._count(loss, 1, [line])

    def merge(self, later: ConversionLossReport, before: int) -> None:
        """Merge the counts of later lines, which are numbered from the line after `before`."""
        for loss, (count, lines) in later._found.items():
            self._count(loss, count, [before + line for line in lines])

    def _count(self, loss: Unrepresentable, more: int, lines: list[int]) -> None:
        count, first = self._found.get(loss, (0, []))
        self._found[loss] = (count + more, first if len(first) >= FIRST_LINES else [*first, *lines][:FIRST_LINES])

    def losses(self, numbering: RowNumbering) -> tuple[ConversionLoss, ...]:
        return tuple(
            ConversionLoss(loss.field or "record", count, tuple(lines), loss.reason, numbering.words(lines))
            for loss, (count, lines) in sorted(self._found.items(), key=lambda item: item[1][1])
        )


def write_converted_row(target: DatasetFormat, record: Record) -> tuple[bytes | None, list[Unrepresentable]]:
    """Return the record as a row of JSON, or None if the format cannot hold it, and what is lost.

    Every row but the plainest is read back and compared, so that no loss goes unnoticed, not even one that the format
    does not know of.
    """
    row, lost = target.write_format_row(record)
    if row is None:
        return None, lost
    if not lost and not is_plain_chat_record(record) and not row_round_trips(target.read_format_row, row, record):
        lost = [Unrepresentable("", "reads back differently")]
    return _encode(row), lost


_encode = msgspec.json.Encoder().encode


def is_plain_chat_record(record: Record) -> bool:
    """Return whether it is a chat of nothing but roles and text, which every format's tests cover."""
    if type(record) is not Chat or record.tools or record.metadata or record.weight is not None:
        return False
    for message in record.messages:
        if type(message.content) is not str or message.tool_calls or message.role == "tool" or message.extra:
            return False
        if message.reasoning is not None or message.weight is not None or message.name is not None:
            return False
    return True
