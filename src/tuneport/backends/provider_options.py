"""Refuses `provider_options` that no backend may have: secrets, what a job has its own field for, and, where
there is a budget, what may change the price."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any

from tuneport.errors import BudgetError, ConfigError, UnsupportedError
from tuneport.formatting import money
from tuneport.types import Hyperparameters, TuneSpec

# Wide on purpose: a name that is refused for nothing can be given to the provider elsewhere, a stored key cannot be
# taken back.
_SECRET_NAME = re.compile(r"key(?!word)|token(?!iz)|secret|passw|credential|bearer|authoriz|\bauth\b|_auth\b", re.I)
_PASSWORD_IN_URL = re.compile(r"://[^/\s@]*:[^/\s@]+@")
# Packing was an option before it was a hyperparameter, and may be either.
_JOB_FIELDS = (frozenset(TuneSpec.model_fields) | frozenset(Hyperparameters.model_fields)) - {"packing"}


def refuse_provider_option_secrets(options: Mapping[str, Any]) -> None:
    """Raise ConfigError for a name, at any depth, that sounds like a secret, or a URL with a password."""
    for where, value in _walk(options, "provider_options"):
        name = where.rpartition(".")[2]
        if _SECRET_NAME.search(name) or (isinstance(value, str) and _PASSWORD_IN_URL.search(value)):
            raise ConfigError(
                f"{where} would store a secret with the job; leave it out, and set it up in the provider's own settings"
            )


def refuse_provider_job_fields(backend: str, options: Mapping[str, Any], theirs: Mapping[str, str]) -> None:
    """Raise ConfigError for what tuneport itself sends. `theirs`: the provider's names for the job's own fields."""
    for name in options:
        field = theirs.get(name.lower(), name.lower() if name.lower() in _JOB_FIELDS else None)
        if field is not None:
            raise ConfigError(
                f"provider_options.{name} clashes with what tuneport sends to {backend}; set the job's own {field}"
            )


def refuse_hyperparameters(backend: str, given: Iterable[str], takes: Iterable[str], where: str = "") -> None:
    """Raise UnsupportedError for each hyperparameter that is set and that this backend cannot take."""
    if unknown := sorted(set(given) - set(takes)):
        raise UnsupportedError(
            f"the backend {backend} does not take {', '.join(unknown)}{where}; leave it at auto "
            f"(it takes {', '.join(sorted(takes))})"
        )


def refuse_unpriced_provider_option(backend: str, spec: TuneSpec, cost_neutral: Collection[str]) -> None:
    """Raise BudgetError if there is a budget and an option that the quote does not know."""
    if spec.budget is None:
        return
    if unpriced := sorted(set(spec.provider_options) - set(cost_neutral)):
        neutral = f" (those that do not change it: {', '.join(sorted(cost_neutral))})" if cost_neutral else ""
        raise BudgetError(
            f"provider_options.{unpriced[0]} may change what {backend} bills, which the quote does not show, and there "
            f"is a budget of {money(spec.budget)}; leave it out{neutral}, or submit without a budget"
        )


def _walk(value: Any, where: str) -> Iterator[tuple[str, Any]]:
    """Yield each value inside `value` with its path, `provider_options.integrations[0].wandb`."""
    if isinstance(value, Mapping):
        inner = [(f"{where}.{name}", item) for name, item in value.items()]
    elif isinstance(value, (list, tuple)):
        inner = [(f"{where}[{index}]", item) for index, item in enumerate(value)]
    else:
        return
    for place, item in inner:
        yield place, item
        yield from _walk(item, place)
