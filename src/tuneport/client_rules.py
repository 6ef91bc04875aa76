"""Rules for the options that a client of the gateway may set. The rule stands beside the option's own declaration, as
its metadata or in its backend's table; what has no rule is refused.

Imports nothing, so that every module that declares an option can name a rule.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol

MOST_NAMES = 64
_MODULE_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(?:\.[A-Za-z0-9_]+)*")
_MODULE_NAME_LENGTH = 128


class _HasMetadata(Protocol):
    metadata: list[Any]


@dataclass(frozen=True)
class ClientsMaySet:
    """A client may set it, to a value of this kind and range. `above`: `low` itself is not in the range. `words` are
    taken instead of a number, too."""

    kind: Literal["whole", "number", "yes_no", "word", "module_names"]
    low: float = 0
    high: float = 0
    above: bool = False
    words: tuple[str, ...] = ()

    def accepts(self, value: Any) -> bool:
        if isinstance(value, str):
            return value in self.words
        if self.kind == "yes_no":
            return isinstance(value, bool)
        if self.kind == "module_names":
            return isinstance(value, list) and 0 < len(value) <= MOST_NAMES and all(map(_is_module_name, value))
        if self.kind == "word" or isinstance(value, bool):
            return False
        if not isinstance(value, int | float) or (self.kind == "whole" and value != value // 1):
            return False
        if isinstance(value, float) and not math.isfinite(value):
            return False
        return (value > self.low if self.above else value >= self.low) and value <= self.high

    def __str__(self) -> str:
        """Return what the value must be, for an error message."""
        words = " or ".join(self.words)
        if self.kind == "word":
            return words
        span = (
            f"above {self.low:g} and at most {self.high:,g}" if self.above else f"from {self.low:g} to {self.high:,g}"
        )
        said = {
            "whole": f"a whole number {span}",
            "number": f"a number {span}",
            "yes_no": "true or false",
            "module_names": f"a list of up to {MOST_NAMES} module names",
        }[self.kind]
        return f"{said}, or {words}" if words else said


@dataclass(frozen=True)
class OperatorOnly:
    """An option that only the gateway's operator may set. `because` completes "it ...". `never`: the operator cannot
    open it to clients either. `switch`: its name in `client_options`, if that differs."""

    because: str
    never: bool = False
    switch: str | None = None


@dataclass(frozen=True)
class CheckedByGateway:
    """An option that the gateway checks by its own rule; `how` states it."""

    how: str


Rule = ClientsMaySet | OperatorOnly | CheckedByGateway


def client_whole_number_rule(low: int, high: int, *words: str) -> ClientsMaySet:
    return ClientsMaySet("whole", low, high, words=words)


def client_number_rule(low: float, high: float, *words: str, above: bool = False) -> ClientsMaySet:
    return ClientsMaySet("number", low, high, above=above, words=words)


def client_choice_rule(*words: str) -> ClientsMaySet:
    return ClientsMaySet("word", words=words)


def client_module_names_rule(*words: str) -> ClientsMaySet:
    """Return names of a network's parts (q_proj, v_proj ...)."""
    return ClientsMaySet("module_names", words=words)


YES_NO = ClientsMaySet("yes_no")


def client_rule_of_field(field: _HasMetadata) -> Rule | None:
    """Return the rule among a pydantic field's metadata, or None if it has none."""
    return next((found for found in field.metadata if isinstance(found, Rule)), None)


def client_rules_of_fields(fields: Mapping[str, _HasMetadata], prefix: str = "") -> dict[str, Rule]:
    """Return the rules of a model's fields that have one, by name."""
    found = {f"{prefix}{name}": client_rule_of_field(field) for name, field in fields.items()}
    return {name: rule for name, rule in found.items() if rule is not None}


def client_rule_has_inner_options(names: Iterable[str], name: str) -> bool:
    """Return whether one of `names` lies inside the option `name`: `slurm.setup` inside `slurm`."""
    return any(each.startswith(f"{name}.") for each in names)


def _is_module_name(name: Any) -> bool:
    return isinstance(name, str) and len(name) <= _MODULE_NAME_LENGTH and _MODULE_NAME.fullmatch(name) is not None
