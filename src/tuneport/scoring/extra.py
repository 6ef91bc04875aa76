"""Imports the packages of metrics and statistics when they are used; a missing one is reported in one line."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tuneport.errors import ConfigError
from tuneport.installation import install_extra


@contextmanager
def require_metric_package(package: str) -> Iterator[None]:
    """Wrap an import. Raises ConfigError with what to install if it fails."""
    try:
        yield
    except ModuleNotFoundError as error:
        raise ConfigError(f"this metric needs {package}: {install_extra('eval')}") from error


def load_scipy_stats() -> Any:
    """Return `scipy.stats`. Raises ConfigError with what to install if it is missing.

    It is called before any model is asked for answers that are to be compared, so that no answer is paid in vain.
    """
    try:
        from scipy import stats
    except ModuleNotFoundError as error:
        raise ConfigError(f"intervals and tests need scipy: {install_extra('eval')}") from error
    return stats
