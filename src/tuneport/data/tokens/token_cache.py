"""Counts of tokens, kept by the dataset's content: counting 200,000 rows takes seconds, hashing them hardly any."""

from __future__ import annotations

import contextlib
import hashlib
import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from tuneport import private
from tuneport.data.dataset import Dataset
from tuneport.data.tokens.tokens import TokenCounts, count_dataset_tokens
from tuneport.digests import sha256_of
from tuneport.files import write_atomically

RULES = 3
"""Raised when the rules of counting change, so that what was counted by the old ones is not believed."""
SMALL_BYTES = 1 << 20  # counted in less time than a cache is worth


@dataclass(frozen=True)
class TokenCache:
    """`folder` holds a small file for each dataset, vocabulary and limit that was counted; deleting any is safe."""

    folder: Path

    def counts(self, dataset: Dataset | Path, encoding: str, *, context: int | None = None) -> TokenCounts:
        """Count as `count_dataset_tokens` does, with a cache by content. An unreadable entry is counted again; a folder
        that cannot be written to only costs the time."""
        dataset = Dataset.of(dataset)
        if dataset.bytes < SMALL_BYTES:
            return count_dataset_tokens(dataset, encoding, context=context)
        key = [RULES, encoding, dataset.reading.given(), context, [_digest(file) for file in dataset.files]]
        entry = self.folder / f"{hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()}.json"
        try:
            return TokenCounts(**json.loads(entry.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):
            counted = count_dataset_tokens(dataset, encoding, context=context)
        with contextlib.suppress(OSError):
            private.make_private_folder(self.folder)
            write_atomically(entry, json.dumps(counted.as_dict()), durable=False)
        return counted


def _digest(file: Path) -> str:
    about = file.stat()
    return _digest_of(file, about.st_size, about.st_mtime_ns)


@cache
def _digest_of(file: Path, size: int, changed: int) -> str:
    """Hash the file once a process, as long as its size and time stay; several vocabularies need it."""
    return sha256_of(file)
