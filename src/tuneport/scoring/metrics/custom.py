"""A metric that is the user's own function, by import path."""

from __future__ import annotations

import importlib
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from tuneport.errors import ConfigError, one_line
from tuneport.scoring.examples import Answer, Example
from tuneport.scoring.statistics.tally import Tally, tally_means, tally_right

IMPORT_PATH = re.compile(r"([A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*):([A-Za-z_]\w*)")


def load_metric_function(path: str) -> Callable[[Example, Answer], Any]:
    """Import `package.module:function` from the current folder or from Python's path. Raises ConfigError if it is
    missing."""
    found = IMPORT_PATH.fullmatch(path)
    if found is None:
        raise ConfigError(f"{path!r} is not an import path; write it as package.module:function")
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        function = getattr(importlib.import_module(found[1]), found[2])
    except Exception as error:
        reason = one_line(f"{type(error).__name__}: {error}")
        raise ConfigError(f"the metric {path} cannot be imported from {here}: {reason}") from error
    if not callable(function):
        raise ConfigError(f"the metric {path} is not a function; write def {found[2]}(example, answer)")
    return function  # type: ignore[no-any-return]


def tally_custom(rows: Sequence[Example], answers: Sequence[Answer], *, function: Callable[..., Any]) -> Tally:
    """Call `function(example, answer)` for each row's value: a truth value makes a share, numbers a mean.

    Raises ConfigError that names the row if the function fails or does not return a number.
    """
    values = []
    for index, (row, answer) in enumerate(zip(rows, answers, strict=True)):
        try:
            given = function(row, answer)
            value = given if isinstance(given, bool) else float(given)
        except Exception as error:
            reason = one_line(f"{type(error).__name__}: {error}")
            raise ConfigError(
                f"the metric {function.__module__}:{function.__name__}, row {index + 1}: {reason}"
            ) from error
        if value != value:
            raise ConfigError(f"the metric {function.__module__}:{function.__name__}, row {index + 1}: it gave NaN")
        values.append(value)
    if all(isinstance(value, bool) for value in values):
        return tally_right([bool(value) for value in values])
    bounded = all(0 <= value <= 1 for value in values)
    return tally_means([float(value) for value in values], best=1.0 if bounded else None)
