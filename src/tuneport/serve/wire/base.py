"""Base classes of all objects of the wire."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints

Auto = Literal["auto"]
Text64 = Annotated[str, StringConstraints(max_length=64)]
Text512 = Annotated[str, StringConstraints(max_length=512)]
Metadata = Annotated[dict[Text64, Text512], Field(max_length=16)]


class RequestModel(BaseModel):
    """The base of what a client sends: unknown fields are refused, and text is not converted to numbers."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False, protected_namespaces=())


class ResponseModel(BaseModel):
    """The base of what the gateway sends."""

    model_config = ConfigDict(extra="forbid", protected_namespaces=())


def _whole(value: Any) -> Any:
    return int(value) if isinstance(value, float) and value.is_integer() else value


Integer = Annotated[int, BeforeValidator(_whole)]
"""An integer. JSON may write it as 1.0."""


def is_unset_request_field(value: Any) -> bool:
    """Return whether a value is unset, for `exclude_if`: OpenAI's document omits the property instead of null."""
    return value is None
