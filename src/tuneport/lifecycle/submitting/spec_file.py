"""A spec of what a person gave: keywords or flags (`build_job_tune_spec`), or a file (`read_job_spec_file`).

`spec.toml` is a job as a file that one can read, edit, and submit again. Its keys are those of `TuneSpec`; paths are
relative to the file. It is TOML, like the project's own file, because what cannot be told in values is told in
comments.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tuneport.data.dataset import Dataset
from tuneport.errors import ConfigError
from tuneport.types import Hyperparameters, TuneSpec
from tuneport.validation import parse_or_config_error, read_toml

_TABLES = ("hyperparameters", "metadata", "wandb", "grader", "provider_options")


def format_job_spec_file(values: dict[str, Any], comments: Sequence[str] = ()) -> str:
    """Return the text of a spec file. Values that are None or empty are left out; `comments` stand at the top."""
    import tomlkit

    document = tomlkit.document()
    for line in comments:
        document.add(tomlkit.comment(line))
    kept = {name: value for name, value in values.items() if value not in (None, {}, ())}
    for name in sorted(kept, key=_TABLES.__contains__):  # tables come last: what follows one belongs to it
        document.add(name, tomlkit.item(_plain(kept[name])))
    return tomlkit.dumps(document)


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
    fixed = {"dataset": data.path, **vars(data.reading), "method": method, "hyperparameters": numbers}
    return parse_or_config_error(TuneSpec, given | fixed)


def _plain(value: Any) -> Any:
    """Return the value in TOML's types; a field that is None is left out."""
    if isinstance(value, Mapping):
        return {str(name): _plain(item) for name, item in value.items() if item is not None}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value if isinstance(value, (bool, int, float)) else str(value)
