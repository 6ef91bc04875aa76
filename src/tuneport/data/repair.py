"""Repairs records whose texts were decoded wrongly (mojibake)."""

from __future__ import annotations

import json
import re
from copy import deepcopy

from tuneport.data.checks.rows.residue import excerpts_of_repair, repair_mojibake
from tuneport.data.pii.spans import record_text_spans
from tuneport.data.rows.records import Record

_STRING = re.compile(r'"(?:[^"\\]|\\.)*"', re.DOTALL)


def repair_record(record: Record) -> tuple[Record, list[tuple[str, str]]]:
    """Return the record with its wrongly decoded texts decoded again, and of each an excerpt before and after.

    The record itself is not changed; if nothing is repaired it is returned itself. JSON stays as it was written but
    for the strings that are repaired. Repairing the result again changes nothing.
    """
    found: dict[int, str] = {}
    excerpts = []
    for index, place in enumerate(record_text_spans(record)):
        text = place.text
        repaired = _repair_json(text) if place.json else repair_mojibake(text)
        if repaired != text:
            found[index] = repaired
            excerpts.append(excerpts_of_repair(text, repaired))
    if found:
        record = deepcopy(record)
        for index, place in enumerate(record_text_spans(record)):
            if index in found:
                place.write(found[index])
    return record, excerpts


def _repair_json(text: str) -> str:
    """Return the JSON with its strings repaired, even if they spell characters as `\\u00c3`."""
    return text if text.isascii() and "\\u" not in text else _STRING.sub(_repaired_string, text)


def _repaired_string(found: re.Match[str]) -> str:
    try:
        value = json.loads(found[0], strict=False)
    except ValueError:
        return found[0]
    repaired = repair_mojibake(value)
    return found[0] if repaired == value else json.dumps(repaired, ensure_ascii=found[0].isascii())
