"""What a metric needs beyond the core install is imported when it is used, and missed in one line."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from tuneport.errors import ConfigError


@contextmanager
def needs(package: str) -> Iterator[None]:
    """Around an import. ConfigError with what to install where it fails."""
    try:
        yield
    except ModuleNotFoundError as error:
        raise ConfigError(f"this metric needs {package}: pip install 'tuneport[eval]'") from error
