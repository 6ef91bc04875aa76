"""`spec.toml`: a job as a file that one can read, edit, and submit again.

Its keys are those of `TuneSpec`; paths are relative to the file. It is TOML, like the project's own file, because what
cannot be told in values is told in comments.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tuneport.errors import ConfigError
from tuneport.types import Hyperparameters, TuneSpec, validated

_BARE = re.compile(r"[A-Za-z0-9_-]+")
_TABLES = ("hyperparameters", "metadata", "wandb", "grader", "provider_options")


def write_spec(values: dict[str, Any], comments: Sequence[str] = ()) -> str:
    """The text of a spec file. None and empty values are left out; `comments` stand at the top."""
    kept = {name: value for name, value in values.items() if value not in (None, {}, ())}
    lines = [f"# {line}" for line in comments]
    lines += [f"{_key(name)} = {_value(value)}" for name, value in kept.items() if name not in _TABLES]
    for table in _TABLES:
        if table in kept:
            lines += ["", f"[{table}]", *(f"{_key(name)} = {_value(value)}" for name, value in kept[table].items())]
    return "\n".join(lines) + "\n"


def read_spec(path: Path, *, dataset: Path | None = None, method: str | None = None) -> TuneSpec:
    """The spec in a file, ready for `Workspace.submit`. `dataset` and `method` are for a file that names none.

    ConfigError names the field that is wrong or missing.
    """
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"{path} cannot be read: {error}; correct the file") from error
    defaults = {"dataset": None if dataset is None else str(dataset), "method": method}
    values = {name: value for name, value in defaults.items() if value is not None} | values
    if "dataset" not in values:
        raise ConfigError(f"{path} names no dataset; write there where yours is, or give it with --data ID=FILE")
    for name in ("dataset", "validation"):
        if isinstance(values.get(name), str) and "://" not in values[name]:
            values[name] = Path(path.parent, Path(values[name]).expanduser()).resolve()
    try:
        values["hyperparameters"] = validated(Hyperparameters, values.get("hyperparameters") or {})
        return validated(TuneSpec, values)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error


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
    """A basic string: JSON's escapes are TOML's, but for DEL, which must be escaped, too."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
