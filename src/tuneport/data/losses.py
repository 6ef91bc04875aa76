"""What a format cannot hold of the records that are written in it: found, counted and located."""

from __future__ import annotations

import msgspec

from tuneport.data.containers.numbering import Numbering
from tuneport.data.formats.contract import Format, Lost, reads_back
from tuneport.data.records import Chat, Record
from tuneport.errors import ConversionLoss

FIRST_LINES = 5


class LossTally:
    """Counts what is lost, by field and reason, in how many records and on which lines first."""

    def __init__(self) -> None:
        self._found: dict[Lost, tuple[int, list[int]]] = {}

    def add(self, line: int, lost: list[Lost]) -> None:
        for loss in dict.fromkeys(lost):
            self._count(loss, 1, [line])

    def merge(self, later: LossTally, before: int) -> None:
        """Take in what was counted in later lines, which are numbered from the line after `before`."""
        for loss, (count, lines) in later._found.items():
            self._count(loss, count, [before + line for line in lines])

    def _count(self, loss: Lost, more: int, lines: list[int]) -> None:
        count, first = self._found.get(loss, (0, []))
        self._found[loss] = (count + more, first if len(first) >= FIRST_LINES else [*first, *lines][:FIRST_LINES])

    def losses(self, numbering: Numbering) -> tuple[ConversionLoss, ...]:
        return tuple(
            ConversionLoss(loss.field or "record", count, tuple(lines), loss.reason, numbering.words(lines))
            for loss, (count, lines) in sorted(self._found.items(), key=lambda item: item[1][1])
        )


def write_row(target: Format, record: Record) -> tuple[bytes | None, list[Lost]]:
    """The record as a row of JSON, None where the format has none, and what is lost.

    Every row but the plainest is read back and compared, so that no loss goes unnoticed, not even one that the
    format does not know of.
    """
    row, lost = target.write(record)
    if row is None:
        return None, lost
    if not lost and not is_plain(record) and not reads_back(target.read, row, record):
        lost = [Lost("", "reads back differently")]
    return _encode(row), lost


_encode = msgspec.json.Encoder().encode


def is_plain(record: Record) -> bool:
    """A chat of nothing but roles and text, which every format's tests cover."""
    if type(record) is not Chat or record.tools or record.metadata or record.weight is not None:
        return False
    for message in record.messages:
        if type(message.content) is not str or message.tool_calls or message.role == "tool" or message.extra:
            return False
        if message.reasoning is not None or message.weight is not None or message.name is not None:
            return False
    return True
