"""Together's endpoints and deployments in our types: their model, their state and their price an hour."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from tuneport.backends.together.hardware import find_together_endpoint_price
from tuneport.types import Deployment

Status = Literal["starting", "ready", "stopping", "stopped", "failed"]
STATES: dict[str, Status] = {
    "DEPLOYMENT_STATE_PROVISIONING": "starting",
    "DEPLOYMENT_STATE_SCALING": "starting",
    "DEPLOYMENT_STATE_READY": "ready",
    "DEPLOYMENT_STATE_DEGRADED": "ready",
    "DEPLOYMENT_STATE_STOPPING": "stopping",
    "DEPLOYMENT_STATE_STOPPED": "stopped",
    "DEPLOYMENT_STATE_FAILED": "failed",
}
LIVELIEST_FIRST: tuple[Status, ...] = ("ready", "starting", "stopping", "failed", "stopped")


@dataclass(frozen=True)
class TogetherRegisteredModel:
    """A job's weights as the model registry has them. `name` is the tuned model's; `ids` all that may be served."""

    name: str
    ids: tuple[str, ...]

    @classmethod
    def from_job(cls, job: Mapping[str, Any]) -> TogetherRegisteredModel | None:
        """Return the model that a job made, or None. The first id is the whole model; the API merges an adapter when it
        is deployed."""
        ids = [job.get("model_object_id"), job.get("adapter_object_id")]
        name = job.get("model_output_name")
        return cls(name, tuple(id for id in ids if id)) if name and any(ids) else None


def parse_together_deployment(
    endpoint: Mapping[str, Any], types: Sequence[Mapping[str, Any]], names: Mapping[str, str]
) -> Deployment:
    parts = endpoint.get("deployments") or []
    words = [str(part.get("state") or "") for part in parts]
    statuses = [_status(part) for part in parts]
    status: Status = next((each for each in LIVELIEST_FIRST if each in statuses), "stopped")
    prices = [_hourly(part, types) for part in parts]
    served = next((str(part.get("model") or "") for part in parts), "")
    return Deployment(
        id=endpoint["id"],
        model=names.get(endpoint["name"].rpartition("/")[2], served or endpoint["name"]),
        status=status,
        raw_status=words[statuses.index(status)] if words else "NO_DEPLOYMENT",
        usd_per_hour=None if None in prices else sum(price for price in prices if price is not None),
        created_at=endpoint.get("createdAt"),
        details={
            "name": endpoint["name"],
            "hardware": [part.get("hardware") for part in parts],
            "replicas": [part.get("desiredReplicas") for part in parts],
            "deployments": [part["id"] for part in parts],
            "started_at": min((str(part["createdAt"]) for part in parts), default=None),
        },
    )


def _status(part: Mapping[str, Any]) -> Status:
    """Return the status. An unknown one may cost money, so it counts as starting; a scaling endpoint answers with what
    is ready."""
    status = STATES.get(str(part.get("state")), "starting")
    return "ready" if status == "starting" and part.get("readyReplicas") else status


def deployment_serves_model(endpoint: Mapping[str, Any], model: TogetherRegisteredModel) -> bool:
    return any(_model_id(str(part.get("model") or "")) in model.ids for part in endpoint.get("deployments") or [])


def _model_id(path: str) -> str:
    match = re.match(r"projects/[^/]+/models/([^/]+)", path)
    return match[1] if match else path


def _hourly(part: Mapping[str, Any], types: Sequence[Mapping[str, Any]]) -> float | None:
    if STATES.get(str(part.get("state"))) == "stopped":
        return 0.0
    each = find_together_endpoint_price(str(part.get("hardware") or ""), types)
    replicas = max(part.get("desiredReplicas") or 0, part.get("readyReplicas") or 0) or 1
    return None if each is None else each * replicas


def together_endpoint_name(model: str) -> str:
    """Return a name for the endpoint of a model: always the same, and of characters that are always allowed."""
    plain = re.sub(r"[^a-z0-9]+", "-", model.rpartition("/")[2].lower()).strip("-")[:40].rstrip("-")
    return f"tuneport-{plain}-{hashlib.sha256(model.encode()).hexdigest()[:8]}"
