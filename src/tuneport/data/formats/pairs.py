"""Preference pairs whose two conversations are written whole, with the shared context at the head of each."""

from __future__ import annotations

from tuneport.data.formats.contract import Unrepresentable
from tuneport.data.rows.records import Message, Preference


def split_preference_pair(
    chosen: list[Message], rejected: list[Message]
) -> tuple[list[Message], list[Message], list[Message]]:
    """Split into context, chosen and rejected: their common beginning is context, up to one message left for each
    answer."""
    shared = 0
    while shared < min(len(chosen), len(rejected)) - 1 and chosen[shared] == rejected[shared]:
        shared += 1
    return chosen[:shared], chosen[shared:], rejected[shared:]


def note_lost_boundary(record: Preference, lost: list[Unrepresentable]) -> None:
    """Note a loss if the context, without a field of its own, would be found to end elsewhere."""
    parts = (record.context, record.chosen, record.rejected)
    if split_preference_pair(record.context + record.chosen, record.context + record.rejected) != parts:
        lost.append(Unrepresentable("input", "the answers begin alike, so the context would be taken to end later"))
