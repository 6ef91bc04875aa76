"""Calls of tools: are the right ones called, with the right arguments?"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

from tuneport.data.checks.rows.shapes import parse_row_answer_json
from tuneport.scoring.examples import Answer, Call, Example
from tuneport.scoring.metrics.structured import same_value
from tuneport.scoring.statistics.tally import Floats, Tally, tally_right, tally_sums


def tally_tool_names(rows: Sequence[Example], answers: Sequence[Answer]) -> Tally:
    """Count rows that call the same tools, each as often, in any order. If none is expected, no call is right."""
    return tally_right([_names(row.calls) == _names(said.calls) for row, said in zip(rows, answers, strict=True)])


def tally_tool_calls(rows: Sequence[Example], answers: Sequence[Answer], *, in_order: bool = False) -> Tally:
    """Count rows with the same calls and arguments; parallel ones in any order, unless `in_order`."""
    right = []
    for row, said in zip(rows, answers, strict=True):
        if in_order:
            same = len(row.calls) == len(said.calls) and all(map(same_call, row.calls, said.calls))
        else:
            same = len(row.calls) == len(said.calls) == _matched(row.calls, said.calls)
        right.append(same)
    return tally_right(right)


def tally_call_f1(rows: Sequence[Example], answers: Sequence[Answer]) -> Tally:
    """Compute the F1 of the calls of all rows together; a call is right with its name and all of its arguments."""
    counts = np.array(
        [
            (_matched(row.calls, said.calls), len(row.calls), len(said.calls))
            for row, said in zip(rows, answers, strict=True)
        ],
        np.float64,
    )
    return tally_sums(counts, _f1, per_row=_f1(counts))


def same_call(one: Call, other: Call) -> bool:
    """Compare names and arguments; arguments as JSON, or as text if they are not JSON."""
    if one.name != other.name:
        return False
    want, got = parse_row_answer_json(one.arguments or "{}"), parse_row_answer_json(other.arguments or "{}")
    if want is None or got is None:
        return one.arguments.strip() == other.arguments.strip()
    return _same(want, got)


def _same(one: object, other: object) -> bool:
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_same(one[key], other[key]) for key in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_same, one, other))
    return same_value(one, other)


def _names(calls: Sequence[Call]) -> Counter[str]:
    return Counter(call.name for call in calls)


def _matched(expected: Sequence[Call], given: Sequence[Call]) -> int:
    left = list(given)
    found = 0
    for call in expected:
        place = next((index for index, other in enumerate(left) if same_call(call, other)), None)
        if place is not None:
            del left[place]
            found += 1
    return found


def _f1(sums: Floats) -> Floats:
    """Return the F1 of the sums; 1 if no call is expected and none was made."""
    return np.asarray(np.where(sums[:, 1] + sums[:, 2] == 0, 1.0, 2 * sums[:, 0] / np.maximum(sums[:, 1:].sum(1), 1)))
