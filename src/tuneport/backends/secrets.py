"""What must not get out: the forms that a secret takes, where it is found, and how it is taken out of an answer."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import quote

from tuneport.errors import ConfigError
from tuneport.manifests import load_manifest, manifest_names
from tuneport.types import Model, TuneSpec

if TYPE_CHECKING:
    from tuneport.settings import Settings

T = TypeVar("T")

SHORTEST = 8  # characters; a shorter value would be found everywhere
MARK = "[key]"
_NAME = re.compile(r"(?:KEY|TOKEN|SECRET|PASSWORD)$", re.IGNORECASE)


def key_variables(settings: Settings) -> set[str]:
    """The variables that hold the keys of backends: those of the manifests, and of the project's own tables."""
    tables = [table.api_key_env for table in settings.project.backends.values()]
    names = {load_manifest(name).api_key_env for name in manifest_names()} | set(tables)
    return {name for name in names if name is not None}


def known_secrets(settings: Settings) -> list[str]:
    """The values of all variables that hold a backend's key, or whose names end like W&B's and the hub's do.

    A path is none: the name may be that of a file with a key in it.
    """
    keys = key_variables(settings)
    values = [
        value.get_secret_value()
        for name, value in settings.environment.items()
        if name in keys or (_NAME.search(name) and "/" not in value.get_secret_value())
    ]
    return [value for value in dict.fromkeys(values) if len(value) >= SHORTEST]


def refuse_known(spec: TuneSpec, secrets: Iterable[str]) -> None:
    """ConfigError where a field of the spec, which is stored with the job, holds one of `secrets`."""
    for name, value in spec.model_dump(mode="json").items():
        if any(contains(value, form) for secret in secrets for form in forms_of(secret)):
            raise ConfigError(
                f"{name} holds one of the keys of the environment, and would be stored with the job; leave it out"
            )


def forms_of(secret: str) -> list[str]:
    """The secret as it is, as `repr` and URLs write it, without blanks around it, and in base64; longest first."""
    encoded = base64.b64encode(secret.encode()).decode().rstrip("=")
    forms = {secret, repr(secret)[1:-1], secret.strip(), quote(secret, safe=""), encoded}
    return sorted((form for form in forms if form), key=len, reverse=True)


def contains(value: Any, secret: str) -> bool:
    """Whether a string at any depth of `value` (models, mappings, lists; keys of mappings, too) holds `secret`."""
    if isinstance(value, str):
        return secret in value
    if isinstance(value, Model):
        return contains(dict(value), secret)
    if isinstance(value, dict):
        return any(contains(item, secret) for pair in value.items() for item in pair)
    return isinstance(value, (list, tuple)) and any(contains(item, secret) for item in value)


def without(value: T, secrets: Sequence[str]) -> T:
    """`value` with `[key]` for each of `secrets`. What holds none is returned as it is."""
    if not any(contains(value, secret) for secret in secrets):
        return value
    cleaned: T = _replaced(value, secrets)
    return cleaned


def _replaced(value: Any, secrets: Sequence[str]) -> Any:
    if isinstance(value, str):
        for secret in secrets:
            if secret in value:  # others, members of an enum among them, stay what they are
                value = value.replace(secret, MARK)
        return value
    if isinstance(value, Model):
        return value.model_copy(update={name: _replaced(item, secrets) for name, item in value})
    if isinstance(value, dict):
        return {_replaced(name, secrets): _replaced(item, secrets) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(_replaced(item, secrets) for item in value)
    return value
