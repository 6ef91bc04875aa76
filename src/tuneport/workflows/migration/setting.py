"""The fate of one setting of the old job."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

Fate = Literal["same", "changed", "dropped"]


@dataclass(frozen=True)
class MigratedSetting:
    """One setting: `old` as it was, `new` as it will be (None: it has no equivalent), and why."""

    name: str
    old: str
    new: str | None
    why: str = ""

    @property
    def fate(self) -> Fate:
        return "dropped" if self.new is None else "same" if self.new == self.old else "changed"

    def as_dict(self) -> dict[str, Any]:
        return {"setting": self.name, "old": self.old, "new": self.new, "fate": self.fate, "why": self.why}
