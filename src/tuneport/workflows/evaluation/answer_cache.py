"""The cache of answers: a repeated question is not paid again, and a killed run continues where it stopped."""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tuneport import private
from tuneport.errors import StorageError
from tuneport.lifecycle.schema.database import split_for_store_statement

Kept = dict[str, Any]
"""An answer as it was given: text, calls, tokens, seconds; see `answering.Said`."""


class EvaluationAnswerCache:
    """One SQLite file, which several processes may use at once. A stored answer is safe from `kill -9`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            private.make_private_folder(path.parent)
            private.make_private_file(path)
            self._connection = sqlite3.connect(path, timeout=30, isolation_level=None)
            self._connection.execute("PRAGMA journal_mode=WAL")
            self._connection.execute("PRAGMA synchronous=NORMAL")  # a power cut may cost the last answers, no crash
            self._connection.execute(
                "CREATE TABLE IF NOT EXISTS answers (key TEXT PRIMARY KEY, answer TEXT NOT NULL) WITHOUT ROWID"
            )
        except (OSError, sqlite3.Error) as error:
            raise StorageError(f"answers cannot be kept in {path}: {error}; is the disk full or read-only?") from error

    @classmethod
    def in_home(cls, home: Path) -> EvaluationAnswerCache:
        """Open the one of a home, which all commands share: what one has paid for, no other pays again."""
        return cls(home / "evaluations" / "answers.sqlite")

    def __enter__(self) -> EvaluationAnswerCache:
        return self

    def __exit__(self, *exception: object) -> None:
        self._connection.close()

    def get(self, keys: Sequence[str]) -> dict[str, Kept]:
        found: dict[str, Kept] = {}
        for part in split_for_store_statement(keys):
            rows: Iterable[tuple[str, str]] = self._connection.execute(
                f"SELECT key, answer FROM answers WHERE key IN ({','.join('?' * len(part))})", list(part)
            )
            found |= {key: json.loads(answer) for key, answer in rows}
        return found

    def put(self, key: str, answer: Kept) -> None:
        try:
            self._connection.execute(
                "INSERT OR REPLACE INTO answers VALUES (?, ?)", (key, json.dumps(answer, ensure_ascii=True))
            )
        except sqlite3.Error as error:
            raise StorageError(f"answers cannot be kept in {self.path}: {error}; is the disk full?") from error


def answer_cache_key(
    where: Sequence[str | None], messages: Sequence[Mapping[str, Any]], options: Mapping[str, Any]
) -> str:
    """Return the key of a question in the cache: the same question, asked in the same way. `where`: the backend, its
    address, the model."""
    asked = json.dumps([list(where), list(messages), dict(options)], sort_keys=True, ensure_ascii=True)
    return hashlib.sha256(asked.encode()).hexdigest()
