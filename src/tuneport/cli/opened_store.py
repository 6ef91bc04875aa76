"""The store for commands that need nothing else of a workspace."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tuneport.lifecycle.store.store import Store


@contextmanager
def open_command_store() -> Iterator[Store]:
    """Open the store that the settings name, with the rows of all projects, for the block."""
    from tuneport.lifecycle.store.store import Store
    from tuneport.settings import Settings

    with closing(Store(Settings.load().database_url).unscoped()) as store:
        yield store
