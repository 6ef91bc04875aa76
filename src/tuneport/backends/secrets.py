"""Finds secrets, encoded ones too, and removes them from answers."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable
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


def backend_key_variables(settings: Settings) -> set[str]:
    """Return the variables that hold the keys of backends: those of the manifests, and of the project's own tables."""
    tables = [table.api_key_env for table in settings.project.backends.values()]
    names = {load_manifest(name).api_key_env for name in manifest_names()} | set(tables)
    return {name for name in names if name is not None}


def known_backend_secrets(settings: Settings) -> list[str]:
    """Return the values of all variables that hold a backend's key, or whose names end like W&B's and the hub's do.

    A path does not count: the name may be that of a file with a key in it.
    """
    keys = backend_key_variables(settings)
    values = [
        value.get_secret_value()
        for name, value in settings.environment.items()
        if name in keys or (_NAME.search(name) and "/" not in value.get_secret_value())
    ]
    return [value for value in dict.fromkeys(values) if len(value) >= SHORTEST]


def refuse_known_secrets(spec: TuneSpec, secrets: Iterable[str]) -> None:
    """Raise ConfigError if a field of the spec, which is stored with the job, holds one of `secrets`."""
    pattern = compile_secret_pattern(form for secret in secrets for form in encode_secret_forms(secret))
    for name, value in spec.model_dump(mode="json").items():
        if contains_backend_secret(value, pattern):
            raise ConfigError(
                f"{name} holds one of the keys of the environment, and would be stored with the job; leave it out"
            )


def encode_secret_forms(secret: str) -> list[str]:
    """Return the secret verbatim, as `repr` and URLs write it, without blanks around it, and in base64; longest
    first."""
    encoded = base64.b64encode(secret.encode()).decode().rstrip("=")
    forms = {secret, repr(secret)[1:-1], secret.strip(), quote(secret, safe=""), encoded}
    return sorted((form for form in forms if form), key=len, reverse=True)


def compile_secret_pattern(secrets: Iterable[str]) -> re.Pattern[str]:
    """Return the pattern that finds any of `secrets` in one pass; without secrets it matches nothing."""
    return re.compile("|".join(map(re.escape, secrets)) or r"(?!)")


def contains_backend_secret(value: Any, secrets: re.Pattern[str]) -> bool:
    """Return whether a string at any depth of `value` (models, mappings, lists; keys of mappings, too) holds a
    secret."""
    if isinstance(value, str):
        return secrets.search(value) is not None
    if isinstance(value, Model):
        return contains_backend_secret(dict(value), secrets)
    if isinstance(value, dict):
        return any(contains_backend_secret(item, secrets) for pair in value.items() for item in pair)
    return isinstance(value, (list, tuple)) and any(contains_backend_secret(item, secrets) for item in value)


def redact_backend_secrets(value: T, secrets: re.Pattern[str]) -> T:
    """Return `value` with `[key]` in place of each secret; the same object if it holds none."""
    if not contains_backend_secret(value, secrets):
        return value
    cleaned: T = _replaced(value, secrets)
    return cleaned


def _replaced(value: Any, secrets: re.Pattern[str]) -> Any:
    if isinstance(value, str):
        # One that holds none, a member of an enum perhaps, stays what it is.
        return secrets.sub(MARK, value) if secrets.search(value) else value
    if isinstance(value, Model):
        return value.model_copy(update={name: _replaced(item, secrets) for name, item in value})
    if isinstance(value, dict):
        return {_replaced(name, secrets): _replaced(item, secrets) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(_replaced(item, secrets) for item in value)
    return value
