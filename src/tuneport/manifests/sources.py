"""Sources of facts: each file of facts lists its sources, and each fact names one of them."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from enum import StrEnum
from typing import Any

from pydantic import BaseModel, Field, model_validator

from tuneport.types import Model


class Confidence(StrEnum):
    PRIMARY = "primary"  # read in the vendor's own page, specification or published package
    SECONDARY = "secondary"  # read in a copy of the vendor's page, or told by users with their bills
    UNVERIFIED = "unverified"  # told without a page that can be read again


class Source(Model):
    """A page, and the day it was read. `url` is the page to check, which for a copy is the vendor's own."""

    url: str
    read: date
    confidence: Confidence
    note: str = ""


class Sourced(Model):
    """A file of facts: `sources` by key, and every `source` and `..._source` below must be one of the keys."""

    sources: dict[str, Source] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _sources_exist(self) -> Sourced:
        for where, key in _source_keys(self, ""):
            if key not in self.sources:
                raise ValueError(f"{where} names the source {key!r}, which is not under [sources]")
        return self


def _source_keys(value: Any, where: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, BaseModel):
        for name in type(value).model_fields:
            inner = getattr(value, name)
            here = f"{where}.{name}" if where else name
            if (name == "source" or name.endswith("_source")) and isinstance(inner, str):
                yield here, inner
            else:
                yield from _source_keys(inner, here)
    elif isinstance(value, tuple):
        for index, item in enumerate(value):
            yield from _source_keys(item, f"{where}[{getattr(item, 'id', index)}]")
    elif isinstance(value, dict):
        for name, item in value.items():
            yield from _source_keys(item, f"{where}.{name}")
