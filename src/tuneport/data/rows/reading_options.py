"""Options of reading a dataset, beside its path: a person gives them, and a job's spec keeps them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, TypedDict

from tuneport.types import TuneSpec

_SHOWN = 60  # characters of a text


class MoreReadingOptions(TypedDict, total=False):
    """The options of `ReadingOptions` that stand behind columns and format, as keywords."""

    system: str | None
    template: str | None
    ignored_columns: Sequence[str]
    keep_unliked: bool
    inline_images: bool


@dataclass(frozen=True)
class ReadingOptions:
    """`columns` maps the names that the format expects to those in the files. `format` None: the rows tell.

    `system` is the first message of every record that has none; `template` is the user's message, made of a row's
    columns. `ignored_columns` may hold training signal that is left out on purpose. `keep_unliked`: sft trains on the
    answers that are marked as bad, too. `inline_images`: pictures that are named by a path are read into the rows.
    """

    columns: Mapping[str, str] = field(default_factory=dict)
    format: str | None = None
    system: str | None = None
    template: str | None = None
    ignored_columns: Sequence[str] = ()
    keep_unliked: bool = False
    inline_images: bool = False

    def __post_init__(self) -> None:
        names = (self.ignored_columns,) if isinstance(self.ignored_columns, str) else self.ignored_columns
        object.__setattr__(self, "ignored_columns", tuple(names or ()))

    @classmethod
    def of_spec(cls, spec: TuneSpec) -> ReadingOptions:
        """Return those of a job."""
        return cls(**{name: getattr(spec, name) for name in READING_FIELDS})

    def given(self) -> dict[str, Any]:
        """Return those that are not the default, as fields of a spec."""
        return {name: value for name in READING_FIELDS if (value := getattr(self, name)) not in (None, {}, (), False)}

    def flags(self, *, for_training: bool) -> list[str]:
        """Return those that are given as the command line's flags; those of what is trained on only `for_training`."""
        words = [word for name, column in self.columns.items() for word in ("--map", f"{name}={column}")]
        for flag, text in (("--format", self.format), ("--system", self.system), ("--template", self.template)):
            words += [] if text is None else [flag, text]
        if for_training:
            words += [word for name in self.ignored_columns for word in ("--ignore", name)]
            words += ["--keep-unliked"] if self.keep_unliked else []
        return words

    def shown(self) -> dict[str, str]:
        """Return what `tuneport show` says of those that are given, by label."""
        words = {
            "format": self.format,
            "columns": ", ".join(f"{ours}={theirs}" for ours, theirs in self.columns.items()),
            "system": _short(self.system or ""),
            "template": _short(self.template or ""),
            "ignored": ", ".join(self.ignored_columns),
            "bad answers": "trained on, too (--keep-unliked)" if self.keep_unliked else None,
            "pictures": "read into the rows (--inline-images)" if self.inline_images else None,
        }
        return {label: text for label, text in words.items() if text}


READING_FIELDS = tuple(each.name for each in fields(ReadingOptions))
"""The fields of `TuneSpec` that say how its data is read."""


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _SHOWN else f"{line[: _SHOWN - 1]}…"
