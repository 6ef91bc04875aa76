"""A spec of what a person gave: keywords or flags (`build_job_tune_spec`), or a file (`read_job_spec_file`).

`spec.toml` is a job as a file that one can read, edit, and submit again. Its keys are those of `TuneSpec`; paths are
relative to the file. It is TOML, like the project's own file, because what cannot be told in values is told in
comments.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tuneport.data.dataset import Dataset
from tuneport.errors import ConfigError
from tuneport.types import Hyperparameters, TuneSpec
from tuneport.validation import parse_or_config_error, read_toml

_BARE = re.compile(r"[A-Za-z0-9_-]+")
_TABLES = ("hyperparameters", "metadata", "wandb", "grader", "provider_options")


def format_job_spec_file(values: dict[str, Any], comments: Sequence[str] = ()) -> str:
    """Return the text of a spec file. Values that are None or empty are left out; `comments` stand at the top."""
    kept = {name: value for name, value in values.items() if value not in (None, {}, ())}
    lines = [f"# {line}" for line in comments]
    lines += [f"{_key(name)} = {_value(value)}" for name, value in kept.items() if name not in _TABLES]
    for table in _TABLES:
        if table in kept:
            lines += ["", f"[{table}]", *(f"{_key(name)} = {_value(value)}" for name, value in kept[table].items())]
    return "\n".join(lines) + "\n"


def read_job_spec_values(path: Path) -> dict[str, Any]:
    """Return what a spec file says, its paths made absolute. Raises ConfigError if it cannot be read as TOML."""
    values = read_toml(path)
    for name in ("dataset", "validation", "reward_folder"):
        if isinstance(values.get(name), str) and "://" not in values[name]:
            values[name] = Path(path.parent, Path(values[name]).expanduser()).resolve()
    return values


def read_job_spec_file(path: Path, *, dataset: Path | None = None, method: str | None = None) -> TuneSpec:
    """Return the spec in a file, ready for `JobService.submit`. `dataset` and `method` are for a file that names none.

    Raises ConfigError, which names the field that is wrong or missing.
    """
    defaults = {
        "dataset": None if dataset is None else Path(path.parent, dataset.expanduser()).resolve(),
        "method": method,
    }
    values = {name: value for name, value in defaults.items() if value is not None} | read_job_spec_values(path)
    if "dataset" not in values:
        raise ConfigError(f"{path} names no dataset; write there where yours is, or give it with --data ID=FILE")
    try:
        values["hyperparameters"] = parse_or_config_error(Hyperparameters, values.get("hyperparameters") or {})
        return parse_or_config_error(TuneSpec, values)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error


def build_job_tune_spec(data: Dataset, values: Mapping[str, Any]) -> TuneSpec:
    """Return the spec for a dataset. A value of None counts as not given; the method is then what the dataset is made
    for."""
    given = {
        name: dict(value) if isinstance(value, Mapping) else value
        for name, value in values.items()
        if value is not None
    }
    method = given.get("method") or ("rft" if given.get("grader") else "grpo" if given.get("reward") else data.method)
    numbers = given.get("hyperparameters", {})
    if not isinstance(numbers, Hyperparameters):
        numbers = parse_or_config_error(Hyperparameters, numbers)
    fixed = {"dataset": data.path, "columns": data.columns, "method": method, "hyperparameters": numbers}
    return parse_or_config_error(TuneSpec, given | fixed)


def _key(name: str) -> str:
    return name if _BARE.fullmatch(name) else _text(name)


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return repr(value)
    if isinstance(value, dict):
        return (
            "{ "
            + ", ".join(f"{_key(str(key))} = {_value(item)}" for key, item in value.items() if item is not None)
            + " }"
        )
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(_value(item) for item in value) + "]"
    return _text(str(value))


def _text(text: str) -> str:
    """Return a basic string: JSON's escapes are TOML's, but for DEL, which must be escaped, too."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
