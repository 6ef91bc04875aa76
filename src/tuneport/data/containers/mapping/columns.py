"""Other names for columns, as `--map instruction=question` gives them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from tuneport.data.containers.bad_row import BadRow, unreadable_file_error
from tuneport.data.rows.repeated_keys import is_row_fully_decoded, repeated_keys
from tuneport.errors import ConfigError, DatasetError
from tuneport.formatting import listed_names

_decode = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


class ColumnMapping:
    """Renames columns on the way in. `mapping` goes from the name that a format expects to the name in the file."""

    def __init__(self, mapping: Mapping[str, str] | None = None) -> None:
        self._names: dict[str, str] = {}
        for expected, name in (mapping or {}).items():
            if name in self._names:
                both = f"{self._names[name]!r} and {expected!r}"
                raise ConfigError(f"the column {name!r} is mapped to {both}; choose one of them")
            self._names[name] = expected
        self._missing = dict.fromkeys(self._names)
        self._seen: dict[str, None] = {}

    def __bool__(self) -> bool:
        return bool(self._names)

    @property
    def missing(self) -> list[str]:
        """Return the mapped names that no row had so far."""
        return list(self._missing)

    def renamed(self, names: Sequence[str]) -> list[str] | BadRow:
        """Return the columns' new names, in order."""
        if self._missing:
            self._seen |= dict.fromkeys(names)
            for name in names:
                self._missing.pop(name, None)
        new = [self._names.get(name, name) for name in names]
        if len(set(new)) < len(new):
            twice = next(name for name, count in Counter(new).items() if count > 1)
            old = next(name for name in names if self._names.get(name) == twice)
            rule = f"has a column {twice!r} besides {old!r}, which is mapped to it"
            return BadRow(rule, "rename one of them, or map the other, too")
        return new

    def row(self, raw: bytes) -> bytes:
        """Return a row of JSON with the new names; unchanged if it is not a JSON object."""
        try:
            row = _decode(raw)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return raw
        if not is_row_fully_decoded(raw, row) and any(not at for at, _ in repeated_keys(raw)):
            return raw  # it has a column twice; the reader says so
        names = self.renamed(list(row))
        if isinstance(names, BadRow):
            return names
        return msgspec.json.encode(dict(zip(names, row.values(), strict=True)))

    def absent(self, path: Path | str) -> DatasetError:
        """Return the error once all rows were read, if some mapped name was in none of them."""
        columns = listed_names(list(self._seen))
        rule = f"no record has the column {self.missing[0]!r}, which is mapped to {self._names[self.missing[0]]!r}"
        return unreadable_file_error(path, rule, f"map one of its columns: {columns}")
