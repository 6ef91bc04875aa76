"""Preference pairs whose two conversations are written whole, with the shared context at the head of each."""

from __future__ import annotations

from tuneport.data.formats.contract import Lost
from tuneport.data.records import Message, Preference


def split_pair(chosen: list[Message], rejected: list[Message]) -> tuple[list[Message], list[Message], list[Message]]:
    """Context, chosen and rejected: what both begin with is context, down to one message left for each answer."""
    shared = 0
    while shared < min(len(chosen), len(rejected)) - 1 and chosen[shared] == rejected[shared]:
        shared += 1
    return chosen[:shared], chosen[shared:], rejected[shared:]


def lose_boundary(record: Preference, lost: list[Lost]) -> None:
    """Note it as a loss where the context, once it is no field of its own, would be found to end elsewhere."""
    parts = (record.context, record.chosen, record.rejected)
    if split_pair(record.context + record.chosen, record.context + record.rejected) != parts:
        lost.append(Lost("input", "the answers begin alike, so the context would be taken to end later"))
