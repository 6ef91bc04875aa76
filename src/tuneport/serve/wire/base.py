"""What all objects of the wire have in common."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints

Auto = Literal["auto"]
Text64 = Annotated[str, StringConstraints(max_length=64)]
Text512 = Annotated[str, StringConstraints(max_length=512)]
Metadata = Annotated[dict[Text64, Text512], Field(max_length=16)]


class Asked(BaseModel):
    """What a client sends: what it does not know is refused, and a text is no number."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False, protected_namespaces=())


class Told(BaseModel):
    """What the gateway sends."""

    model_config = ConfigDict(extra="forbid", protected_namespaces=())


def _whole(value: Any) -> Any:
    return int(value) if isinstance(value, float) and value.is_integer() else value


Integer = Annotated[int, BeforeValidator(_whole)]
"""1.0 is a whole number in JSON."""


def unsaid(value: Any) -> bool:
    """For `exclude_if`: the document has the property, or it has not; it is never null."""
    return value is None
