"""Counts of tokens, kept by the dataset's content: counting 200,000 rows takes seconds, hashing them hardly any."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from tuneport.data.containers.source import Source
from tuneport.data.tokens import TokenCounts, count_dataset

RULES = 2
"""Raised when the rules of counting change, so that what was counted by the old ones is not believed."""
SMALL_BYTES = 1 << 20  # counted in less time than a cache is worth


@dataclass(frozen=True)
class TokenCache:
    """`folder` holds a small file for each dataset, vocabulary and limit that was counted; deleting any is safe."""

    folder: Path

    def counts(
        self,
        path: Path,
        encoding: str,
        *,
        format: str | None = None,
        columns: Mapping[str, str] | None = None,
        context: int | None = None,
    ) -> TokenCounts:
        """As `count_dataset`; from the cache where the same bytes were counted before. An unreadable entry is counted
        anew, and a folder that cannot be written to costs the time, no more."""
        files = Source(path, columns).files
        if sum(file.stat().st_size for file in files) < SMALL_BYTES:
            return count_dataset(path, encoding, format=format, columns=columns, context=context)
        key = [RULES, encoding, format, sorted((columns or {}).items()), context, [_digest(file) for file in files]]
        entry = self.folder / f"{hashlib.sha256(json.dumps(key).encode()).hexdigest()}.json"
        try:
            return TokenCounts(**json.loads(entry.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):
            counted = count_dataset(path, encoding, format=format, columns=columns, context=context)
        aside = entry.with_name(f".{entry.name}.{os.getpid()}")
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            aside.write_text(json.dumps(counted.as_dict()), encoding="utf-8")
            os.replace(aside, entry)
        except OSError:
            with contextlib.suppress(OSError):
                aside.unlink()
        return counted


def _digest(file: Path) -> str:
    about = file.stat()
    return _digest_of(file, about.st_size, about.st_mtime_ns)


@cache
def _digest_of(file: Path, size: int, changed: int) -> str:
    """Read once a process, as long as the file's size and time stay; several vocabularies ask for it."""
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()
