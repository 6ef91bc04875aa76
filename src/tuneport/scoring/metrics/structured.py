"""Answers in JSON: is it JSON, does it fit its schema, and which of its fields are right?"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from tuneport.data.checks.rows.shapes import parse_row_answer_json
from tuneport.errors import ConfigError
from tuneport.scoring.examples import Answer, Example
from tuneport.scoring.extra import require_metric_package
from tuneport.scoring.metrics.normalisation import parse_json_answer
from tuneport.scoring.statistics.tally import Floats, Tally, tally_right, tally_sums

_MOST_MATCHED = 64
"""Entries of a list that are matched by likeness; those of longer ones belong together by place."""


def tally_json_valid(rows: Sequence[Example], answers: Sequence[Answer]) -> Tally:
    """Count answers that are an object or a list with nothing around it, as a program would read it."""
    return tally_right([parse_row_answer_json(answer.text) is not None for answer in answers])


def tally_schema_valid(
    rows: Sequence[Example], answers: Sequence[Answer], *, schema: Mapping[str, Any] | None = None
) -> Tally:
    """Validate each answer against the row's own schema, else `schema`. Raises ConfigError if there is no valid
    schema."""
    with require_metric_package("jsonschema"):
        from jsonschema.exceptions import SchemaError
        from jsonschema.validators import validator_for
    validators: dict[str, Any] = {}
    right = []
    for index, (row, answer) in enumerate(zip(rows, answers, strict=True)):
        wanted = row.schema or schema
        if wanted is None:
            raise ConfigError(f"row {index + 1} has no `schema`; schema_valid needs one there, or for all rows")
        key = json.dumps(wanted, sort_keys=True)
        if key not in validators:
            kind = validator_for(wanted)
            try:
                kind.check_schema(wanted)
            except SchemaError as error:
                raise ConfigError(f"the schema of row {index + 1} is not a JSON schema: {error.message}") from error
            validators[key] = kind(wanted)
        value = parse_row_answer_json(answer.text)
        right.append(value is not None and validators[key].is_valid(value))
    return tally_right(right)


def tally_fields(rows: Sequence[Example], answers: Sequence[Answer], *, part: str) -> Tally:
    """Compute precision, recall or F1 (`part`) of the fields of all rows together; `per_row` is that of each row.

    A field is a leaf of the JSON, and right if its value is the same. An answer that is not JSON has no fields.
    """
    counts = np.array(
        [
            field_score_counts(parse_json_answer(row.expected), parse_json_answer(said.text))
            for row, said in zip(rows, answers, strict=True)
        ],
        np.float64,
    )
    value = {"precision": _precision, "recall": _recall, "f1": _f1}[part]
    return tally_sums(counts, value, per_row=value(counts))


def field_score_counts(expected: Any, answer: Any) -> tuple[int, int, int]:
    """Count the fields that are right, that are expected, and that are there."""
    return len(_matched(expected, answer)), _size(expected), _size(answer)


def field_score_report(rows: Sequence[Example], answers: Sequence[Answer]) -> dict[str, Any]:
    """Count for each field, by its path (list entries under `[]`), how often it is expected, there, and right."""
    right: Counter[str] = Counter()
    expected: Counter[str] = Counter()
    given: Counter[str] = Counter()
    for row, answer in zip(rows, answers, strict=True):
        want, got = parse_json_answer(row.expected), parse_json_answer(answer.text)
        expected.update(_paths(want))
        given.update(_paths(got))
        right.update(_matched(want, got))
    return {
        "fields": [
            {
                "field": path,
                "expected": expected[path],
                "given": given[path],
                "right": right[path],
                "precision": right[path] / given[path] if given[path] else 0.0,
                "recall": right[path] / expected[path] if expected[path] else 0.0,
                "f1": 2 * right[path] / (expected[path] + given[path]),
            }
            for path in sorted(expected.keys() | given.keys())
        ]
    }


def _paths(value: Any, path: str = "") -> Iterator[str]:
    if isinstance(value, dict) and value:
        for key, inner in value.items():
            yield from _paths(inner, f"{path}.{key}" if path else str(key))
    elif isinstance(value, list) and value:
        for inner in value:
            yield from _paths(inner, f"{path}[]")
    elif value is not None or path:
        yield path


def _size(value: Any) -> int:
    return sum(1 for _ in _paths(value))


def _matched(expected: Any, answer: Any, path: str = "") -> list[str]:
    """Return the paths of the fields that are the same in both."""
    if isinstance(expected, dict) and isinstance(answer, dict) and expected and answer:
        found = []
        for key in expected.keys() & answer.keys():
            found += _matched(expected[key], answer[key], f"{path}.{key}" if path else str(key))
        return found
    if isinstance(expected, list) and isinstance(answer, list) and expected and answer:
        return _matched_entries(expected, answer, f"{path}[]")
    return [path] if same_value(expected, answer) and (expected is not None or path) else []


def _matched_entries(expected: list[Any], answer: list[Any], path: str) -> list[str]:
    """Match the entries of two lists whose order does not matter, the most alike first. Returns the paths that
    agree."""
    if max(len(expected), len(answer)) > _MOST_MATCHED:
        return [each for want, got in zip(expected, answer, strict=False) for each in _matched(want, got, path)]
    pairs = []
    for one, want in enumerate(expected):
        for other, got in enumerate(answer):
            if same := _matched(want, got, path):
                pairs.append((-len(same), abs(one - other), one, other, same))
    found: list[str] = []
    taken: tuple[set[int], set[int]] = set(), set()
    for _, _, one, other, same in sorted(pairs, key=lambda pair: pair[:4]):
        if one not in taken[0] and other not in taken[1]:
            taken[0].add(one)
            taken[1].add(other)
            found += same
    return found


def same_value(one: Any, other: Any) -> bool:
    """Compare as JSON does: 1 and 1.0 are the same number, true and 1 are not the same."""
    return bool(one == other) and isinstance(one, bool) == isinstance(other, bool)


def _precision(sums: Floats) -> Floats:
    return np.asarray(sums[:, 0] / np.maximum(sums[:, 2], 1))


def _recall(sums: Floats) -> Floats:
    return np.asarray(sums[:, 0] / np.maximum(sums[:, 1], 1))


def _f1(sums: Floats) -> Floats:
    return np.asarray(2 * sums[:, 0] / np.maximum(sums[:, 1] + sums[:, 2], 1))
