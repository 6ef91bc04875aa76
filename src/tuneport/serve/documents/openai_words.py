"""OpenAI's notation for methods, times and the organization in a model's name."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from tuneport.types import Method

ORGANIZATION = "tuneport"


def openai_document_method(method: str, hyperparameters: Mapping[str, Any], grader: Any) -> dict[str, Any]:
    """Return a method in OpenAI's format; one that OpenAI does not have is shown as supervised."""
    kind = Method(method).traits.openai or "supervised"
    told: dict[str, Any] = {} if grader is None else {"grader": grader}
    told["hyperparameters"] = {
        name: hyperparameters[ours]
        for name, ours in (("n_epochs", "epochs"), ("batch_size", "batch_size"))
        if isinstance(hyperparameters.get(ours), (int, float))
    }
    return {"type": kind, kind: told}


def openai_document_timestamp(moment: datetime) -> int:
    return int(moment.timestamp())
