"""An SQLite store that this process cannot change: on a read-only disk, or in another user's folder.

SQLite reads it as it is. A store with changes in its write-ahead log needs files beside it for that; if they cannot be
made, a copy in a temporary folder is read, so that nothing recent is missing.
"""

from __future__ import annotations

import logging
import os
import shutil
import sqlite3
import tempfile
from pathlib import Path
from typing import Any
from urllib.parse import quote

from sqlalchemy import URL, Engine, create_engine, event
from sqlalchemy.pool import NullPool

log = logging.getLogger(__name__)


def is_store_read_only(database: Path) -> bool:
    """Return whether there is a store, and it or its folder cannot be written."""
    return database.is_file() and not (os.access(database, os.W_OK) and os.access(database.parent, os.W_OK))


def open_read_only_store(url: URL) -> Engine:
    """Return an engine whose statements only read; SQLite refuses the others. The first call warns that it is so."""
    path = Path(str(url.database)).absolute()
    log.warning("%s is read-only: what it holds is shown, and nothing is asked or changed", path.parent)
    address, copy = _address(path)
    engine = create_engine(
        url, creator=lambda: sqlite3.connect(address, uri=True, check_same_thread=False), poolclass=NullPool
    ).execution_options(read_only=True)
    engine.kept_copy = copy  # type: ignore[attr-defined]  # is removed with the engine

    @event.listens_for(engine, "connect")
    def _begin_by_hand(connection: Any, record: Any) -> None:
        connection.execute("PRAGMA query_only=ON")  # a copy could be written, and what is written there would be lost
        connection.isolation_level = None

    @event.listens_for(engine, "begin")
    def _begin(connection: Any) -> None:
        connection.exec_driver_sql("BEGIN")

    return engine


def _address(path: Path) -> tuple[str, tempfile.TemporaryDirectory[str] | None]:
    """Return the address by which SQLite can open it, and the folder with the copy, if one is needed."""
    plain = f"file:{quote(str(path))}?mode=ro"
    try:
        connection = sqlite3.connect(plain, uri=True)
        try:
            connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
        finally:
            connection.close()
        return plain, None
    except sqlite3.OperationalError:
        pass  # its mode is write-ahead, and the files beside it are not there and cannot be made
    log_file = path.with_name(f"{path.name}-wal")
    if not log_file.exists() or log_file.stat().st_size == 0:
        return f"{plain}&immutable=1", None
    folder = tempfile.TemporaryDirectory(prefix="tuneport-read-")
    for each in (path, log_file):
        shutil.copyfile(each, Path(folder.name, each.name))
    return f"file:{quote(str(Path(folder.name, path.name)))}", folder
