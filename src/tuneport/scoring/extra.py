"""Imports the packages of a metric when it is used; a missing one is reported in one line."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from tuneport.errors import ConfigError
from tuneport.installation import install_extra


@contextmanager
def require_metric_package(package: str) -> Iterator[None]:
    """Wrap an import. Raises ConfigError with what to install if it fails."""
    try:
        yield
    except ModuleNotFoundError as error:
        raise ConfigError(f"this metric needs {package}: {install_extra('eval')}") from error
