"""Adapters that were trained elsewhere and downloaded: which base model here they belong to."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from tuneport.base_models import BaseWeights, locate_base_model
from tuneport.errors import ConfigError, one_line
from tuneport.manifests import load_models
from tuneport.validation import read_json_object

CONFIG, RECEIPT = "adapter_config.json", "tuneport.json"
"""What PEFT wrote, and what `download` added: the provider's own name of the base model."""


def is_local_adapter_folder(folder: Path) -> bool:
    return (folder / CONFIG).is_file()


def find_local_adapter_base(folder: Path, *, home: Path) -> BaseWeights:
    """Return the base model of the adapter in `folder`. Raises ConfigError if it is missing, with how to get it.

    A provider's name for the weights is looked up in `providers/models.toml`: it is seldom the hub's.
    """
    names = list(dict.fromkeys(_names(folder)))
    if not names:
        raise ConfigError(f"{folder / CONFIG} names no base model; write its folder there as base_model_name_or_path")
    trouble: ConfigError | None = None
    for name in names:
        try:
            return locate_base_model(name, home=home)
        except ConfigError as error:
            trouble = trouble or error
    raise ConfigError(
        f"the base model of the adapter in {folder} is not here: {trouble}; or write its folder into {CONFIG} as "
        "base_model_name_or_path"
    )


def _names(folder: Path) -> Iterator[str]:
    """Yield the base's folder if it exists, then its name in the catalogue, then the name as written."""
    written = [_read(folder / CONFIG, "base_model_name_or_path"), _read(folder / RECEIPT, "model")]
    found = [name for name in written if name]
    yield from (name for name in found if Path(name).is_dir())
    for name in found:
        for key, weights in load_models().weights.items():
            if name in (key, weights.hub, *weights.ids.values()):
                yield weights.hub or key
                yield key
    yield from found


def _read(path: Path, field: str) -> str | None:
    try:
        value = read_json_object(path).get(field)
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path} cannot be read: {one_line(str(error))}; download the weights again") from error
    return value if isinstance(value, str) else None
