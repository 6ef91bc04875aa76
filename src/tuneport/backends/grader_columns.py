"""The columns that a grader of reinforcement fine-tuning reads: `{{item.COLUMN}}` in any of its texts.

Source of the template form: Microsoft's guide to reinforcement fine-tuning, which is OpenAI's API. A Python grader
reads its rows in code, which is not looked into.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

import msgspec

from tuneport.errors import DatasetError, DatasetProblem
from tuneport.types import DataFile

_COLUMN = re.compile(r"\{\{\s*item(?:\.([A-Za-z_]\w*)|\[\s*['\"]([^'\"]+)['\"]\s*\])")
_CODE = "source"  # the field of a Python grader that is a program, not a template
_MAX_PROBLEMS = 50


def find_backend_grader_columns(grader: Any) -> set[str]:
    """Return the columns that the templates of a grader, and of the graders inside it, name."""
    if isinstance(grader, str):
        return {plain or quoted for plain, quoted in _COLUMN.findall(grader)}
    if isinstance(grader, Mapping):
        inner: list[Any] = [value for name, value in grader.items() if name != _CODE]
    else:
        inner = list(grader) if isinstance(grader, list | tuple) else []
    return set().union(*(find_backend_grader_columns(value) for value in inner)) if inner else set()


def check_backend_grader_columns(grader: Mapping[str, Any], file: DataFile, shown: Path) -> None:
    """Raise DatasetError, with the first rows, if a row of the prepared `file` lacks a column that the grader names.

    `shown` is the dataset that the file was made from, with the same rows in the same order.
    """
    wanted = find_backend_grader_columns(grader)
    if not wanted:
        return
    missing = _missing(file.path, wanted)
    first = list(islice(missing, _MAX_PROBLEMS))
    if first:
        problems = [
            DatasetProblem(str(shown), row, column, f"is missing, and the grader names {{{{item.{column}}}}}", "add it")
            for row, column in first
        ]
        raise DatasetError(problems, count=len(first) + sum(1 for _ in missing))


def _missing(path: Path, wanted: set[str]) -> Iterator[tuple[int, str]]:
    decode = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
    with path.open("rb") as lines:
        for row, line in enumerate(lines, start=1):
            if absent := wanted.difference(decode(line)):
                for column in sorted(absent):
                    yield row, column
