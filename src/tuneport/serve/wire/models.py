"""Models."""

from __future__ import annotations

from typing import Literal

from tuneport.serve.wire.base import ResponseModel


class Model(ResponseModel):
    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: str
    shutdown_date: str | None = None


class ModelList(ResponseModel):
    object: Literal["list"] = "list"
    data: list[Model]


class DeletedModel(ResponseModel):
    id: str
    object: Literal["model"] = "model"
    deleted: bool
