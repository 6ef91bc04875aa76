"""Models."""

from __future__ import annotations

from typing import Literal

from tuneport.serve.wire.base import Told


class Model(Told):
    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: str
    shutdown_date: str | None = None


class ModelList(Told):
    object: Literal["list"] = "list"
    data: list[Model]


class DeletedModel(Told):
    id: str
    object: Literal["model"] = "model"
    deleted: bool
