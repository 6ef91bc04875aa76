"""Errors for a store whose bytes were damaged: one line each, and never reported as a bug of tuneport's."""

from __future__ import annotations

from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from tuneport.errors import ConfigError, one_line
from tuneport.validation import first_error

Kept = TypeVar("Kept", bound=BaseModel)
_LONGEST_REASON = 200  # characters


class StoreDamagedError(ConfigError):
    """The store returned what tuneport never wrote into it. Waiting does not help."""


def store_damaged_error(where: str, error: Exception) -> StoreDamagedError:
    """Return the error for damage; `where` says which store, or which row and column of it."""
    reason = one_line(" ".join(str(error).split()))[:_LONGEST_REASON]
    return StoreDamagedError(
        f"{where} is damaged ({type(error).__name__}: {reason}); restore a copy, or move the damaged file aside"
    )


def parse_job_column(model: type[Kept], row: Any, column: str) -> Kept:
    """Return what a job's row keeps in a column of JSON. Raises StoreDamagedError if it has another shape."""
    try:
        return model.model_validate(getattr(row, column))
    except (ValidationError, RecursionError) as error:
        first = first_error(error) if isinstance(error, ValidationError) else "nested too deeply"
        raise store_damaged_error(f"`{column}` of {row.id} in the store", ValueError(first)) from error
