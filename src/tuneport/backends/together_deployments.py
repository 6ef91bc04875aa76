"""Dedicated endpoints at Together (its v2 API): an endpoint has a name to chat with, and deployments that cost money.

The order of the calls is that of the vendor's own command line (together 3.1.1, `lib/cli/api/endpoints`): model and
configuration, endpoint, deployment, traffic; and backwards to stop: traffic, replicas to none, deployment, endpoint.
Names follow from the model, so that the same deploy again finds what there is. A deployment stops by itself after half
an hour without a request, unless told otherwise.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from tuneport.backends.together_hardware import Choice, choose, instance_types, price_of
from tuneport.errors import BudgetError, ConfigError, NotFoundError, ProviderError, RejectedError, UnavailableError
from tuneport.types import Deployment

Call = Callable[[Callable[[], Any]], Any]

IDLE_MINUTES = 30
"""Until a deployment without requests stops: the shortest time that the API takes (30 to 1440, 0 for never)."""

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
_LIVELIEST_FIRST: tuple[Status, ...] = ("ready", "starting", "stopping", "failed", "stopped")


@dataclass(frozen=True)
class TunedModel:
    """A job's weights as the model registry has them. `name` is the tuned model's; `ids` all that may be served."""

    name: str
    ids: tuple[str, ...]

    @classmethod
    def of(cls, job: Mapping[str, Any]) -> TunedModel | None:
        """The whole model where there is one; an adapter is merged into its base by the API when it is deployed."""
        ids = [job.get("model_object_id"), job.get("adapter_object_id")]
        name = job.get("model_output_name")
        return cls(name, tuple(id for id in ids if id)) if name and any(ids) else None


class DedicatedEndpoints:
    """`read` calls and tries again, `once` calls once; both raise our errors. `project` names the account's project."""

    def __init__(self, provider: str, client: Any, *, read: Call, once: Call, project: str | None) -> None:
        self.provider, self._client, self._read, self._once = provider, client, read, once
        self._project = project

    @property
    def project(self) -> str:
        """TOGETHER_PROJECT_ID, else the project that the key belongs to."""
        if self._project is None:
            identity = self._read(self._client.whoami)
            project = getattr(identity, "project", None)
            if project is None:
                raise ConfigError(f"the key for {self.provider} belongs to no project; set TOGETHER_PROJECT_ID")
            self._project = str(project.id)
        return self._project

    # --- look -------------------------------------------------------------------------------------------------------

    def all(self, models: Iterable[str]) -> list[Deployment]:
        """All dedicated endpoints. `models`: the names of tuned models, by which theirs are told from others."""
        endpoints = self._endpoints()
        types = self._instance_types() if endpoints else []
        names = {_slug(model): model for model in models}
        return [self._described(endpoint, types, names) for endpoint in endpoints]

    def serving(self, model: TunedModel) -> list[Deployment]:
        """Those of this model, the readiest first."""
        found = [self._described(each, [], {}) for each in self._endpoints() if _serves(each, model)]
        return sorted(found, key=lambda each: _LIVELIEST_FIRST.index(each.status))

    def _endpoints(self) -> list[dict[str, Any]]:
        pages = self._read(lambda: list(self._client.endpoints.list(project_id=self.project, limit=500)))
        listed = [page.to_dict(mode="json") for page in pages]
        return [each for each in listed if each.get("endpointType") != "ENDPOINT_TYPE_SERVERLESS"]

    def _instance_types(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self._read(lambda: instance_types(self._client))
        return found

    def _described(
        self, endpoint: Mapping[str, Any], types: Sequence[Mapping[str, Any]], names: Mapping[str, str]
    ) -> Deployment:
        parts = endpoint.get("deployments") or []
        words = [str(part.get("state") or "") for part in parts]
        # A word that nobody knows may cost money, so it counts as starting.
        statuses: list[Status] = [STATES.get(word, "starting") for word in words]
        status: Status = next((each for each in _LIVELIEST_FIRST if each in statuses), "stopped")
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

    # --- start ------------------------------------------------------------------------------------------------------

    def start(
        self,
        model: TunedModel,
        *,
        hardware: str | None = None,
        replicas: int = 1,
        inactive_timeout: int = IDLE_MINUTES,
        max_usd_per_hour: float | None = None,
    ) -> Deployment:
        """The endpoint of the model; made, or started again, where it is not up.

        `hardware`: a part of an instance type's name, else the cheapest that can. `inactive_timeout` in minutes, 0 for
        never. BudgetError before anything is made where it costs more than `max_usd_per_hour`.
        """
        if inactive_timeout != 0 and not 30 <= inactive_timeout <= 1440:
            raise ConfigError(f"inactive_timeout is {inactive_timeout}; it is 30 to 1440 minutes, or 0 for never")
        if replicas < 1:
            raise ConfigError(f"replicas is {replicas}; it is 1 or more (`tuneport undeploy` stops an endpoint)")
        choice = self._choose(model, hardware)
        price = None if choice.usd_per_hour is None else choice.usd_per_hour * replicas
        if max_usd_per_hour is not None and (price is None or price > max_usd_per_hour):
            asked = "an unknown price" if price is None else f"${price:.2f}"
            raise BudgetError(
                f"an endpoint for {model.name} on {choice.hardware} costs {asked} an hour, more than "
                f"${max_usd_per_hour:.2f}; nothing was started; raise the limit or name other hardware"
            )
        endpoint = self._endpoint(_slug(model.name))
        scaling = {"min_replicas": replicas, "max_replicas": replicas}
        part = next(iter(endpoint.get("deployments") or []), None)
        if part is None:
            part = self._create(endpoint, choice, scaling, inactive_timeout)
        elif STATES.get(str(part.get("state"))) in ("stopped", "stopping"):
            self._update(endpoint["id"], part["id"], "autoscaling", autoscaling=scaling)
        elif STATES.get(str(part.get("state"))) == "failed":
            raise RejectedError(
                f"the endpoint {endpoint['id']} of {model.name} has failed over there; `tuneport undeploy "
                f"{endpoint['id']}` removes it, then deploy again",
                provider=self.provider,
            )
        self._route(endpoint, str(part["id"]))
        again = self._read(lambda: self._client.endpoints.retrieve(endpoint["id"], project_id=self.project))
        shown = self._described(again.to_dict(mode="json"), self._instance_types(), {_slug(model.name): model.name})
        idle = {"inactive_timeout_minutes": inactive_timeout}  # of one that was there before, its own is kept
        fresh = {} if "state" in part else idle
        return shown.model_copy(update={"details": shown.details | fresh, "usd_per_hour": shown.usd_per_hour or price})

    def _choose(self, model: TunedModel, hardware: str | None) -> Choice:
        models = self._client.models
        weights = self._read(lambda: models.retrieve(model.ids[0], project_id=self.project)).to_dict(mode="json")
        reference = weights.get("baseModelId") or weights["id"]
        listed = self._read(lambda: list(models.configs.list(project_id=self.project, reference_model_id=reference)))
        configs = [config.to_dict(mode="json") for config in listed]
        path = f"projects/{weights['projectId']}/models/{weights['id']}"
        return choose(self.provider, model.name, path, configs, self._instance_types(), hardware)

    def _endpoint(self, name: str) -> dict[str, Any]:
        """The endpoint of that name, made unless it is there."""
        create = self._client.endpoints.create
        found = self._named(name)
        if found is not None:
            return found
        try:
            made = self._once(lambda: create(project_id=self.project, name=name, visibility="VISIBILITY_PRIVATE"))
            endpoint: dict[str, Any] = made.to_dict(mode="json")
            return endpoint
        except ProviderError as error:  # a conflict, or a lost answer: it costs nothing, so look again
            found = self._named(name) if error.http_status in (None, 409) or error.retryable else None
            if found is None:
                raise
            return found

    def _named(self, name: str) -> dict[str, Any] | None:
        return next((each for each in self._endpoints() if each["name"].rpartition("/")[2] == name), None)

    def _create(
        self, endpoint: Mapping[str, Any], choice: Choice, scaling: Mapping[str, int], idle: int
    ) -> dict[str, Any]:
        """The call from which on money is spent: made once. One whose answer is lost is looked for."""
        create, id = self._client.endpoints.deployments.create, endpoint["id"]
        try:
            made = self._once(
                lambda: create(
                    id,
                    project_id=self.project,
                    name="main",
                    model=choice.model,
                    config=choice.config,
                    autoscaling=scaling,
                    inactive_timeout=idle,
                )
            )
            deployment: dict[str, Any] = made.to_dict(mode="json")
            return deployment
        except UnavailableError as error:
            again = self._read(lambda: self._client.endpoints.retrieve(id, project_id=self.project))
            parts = again.to_dict(mode="json").get("deployments") or []
            if not parts:
                raise UnavailableError(
                    f"{error}; whether the deployment started is not known: `tuneport deployments` shows it, "
                    f"`tuneport undeploy {id}` stops it",
                    provider=self.provider,
                ) from error
            return {"id": parts[0]["id"]}
        except ProviderError:
            self._read(lambda: self._client.endpoints.delete(id, project_id=self.project))
            raise

    def _route(self, endpoint: Mapping[str, Any], deployment: str) -> None:
        """Without a share of the traffic a deployment costs and answers nothing, so if that fails it is stopped."""
        if any(entry.get("deploymentId") == deployment for entry in endpoint.get("trafficSplit") or []):
            return
        split = [{"deployment_id": deployment, "weight": 1}]
        try:
            self._split(endpoint["id"], split)
        except ProviderError as error:
            try:
                self.stop(endpoint["id"])
            except ProviderError:
                raise type(error)(
                    f"{error}; the endpoint {endpoint['id']} runs and costs money: `tuneport undeploy "
                    f"{endpoint['id']}` stops it",
                    provider=self.provider,
                ) from error
            raise

    # --- stop -------------------------------------------------------------------------------------------------------

    def stop(self, id: str) -> None:
        """Take the endpoint and its deployments away, and see that they are gone. Of one that is gone: no error."""
        endpoints = self._client.endpoints
        try:
            endpoint = self._read(lambda: endpoints.retrieve(id, project_id=self.project)).to_dict(mode="json")
        except NotFoundError:
            return
        if endpoint.get("trafficSplit"):
            self._split(id, [])
        for part in endpoint.get("deployments") or []:
            self._gone(lambda part=part: self._update(id, part["id"], "autoscaling", autoscaling=_NONE))  # type: ignore[misc]
            self._gone(
                lambda part=part: self._read(  # type: ignore[misc]
                    lambda: endpoints.deployments.delete(part["id"], endpoint_id=id, project_id=self.project)
                )
            )
        self._gone(lambda: self._read(lambda: endpoints.delete(id, project_id=self.project)))
        try:
            self._read(lambda: endpoints.retrieve(id, project_id=self.project))
        except NotFoundError:
            return
        raise UnavailableError(
            f"{self.provider} still has the endpoint {id}; `tuneport deployments` shows it, undeploy it again",
            provider=self.provider,
        )

    def _gone(self, call: Callable[[], Any]) -> None:
        try:
            call()
        except NotFoundError:
            pass

    def _split(self, id: str, split: list[dict[str, Any]]) -> None:
        update = self._client.endpoints.update
        self._read(lambda: update(id, project_id=self.project, traffic_split=split, update_mask="trafficSplit"))

    def _update(self, endpoint: str, deployment: str, mask: str, **fields: Any) -> None:
        update = self._client.endpoints.deployments.update
        self._read(
            lambda: update(deployment, endpoint_id=endpoint, project_id=self.project, update_mask=mask, **fields)
        )


_NONE = {"min_replicas": 0, "max_replicas": 0}


def _serves(endpoint: Mapping[str, Any], model: TunedModel) -> bool:
    return any(_model_id(str(part.get("model") or "")) in model.ids for part in endpoint.get("deployments") or [])


def _model_id(path: str) -> str:
    match = re.match(r"projects/[^/]+/models/([^/]+)", path)
    return match[1] if match else path


def _hourly(part: Mapping[str, Any], types: Sequence[Mapping[str, Any]]) -> float | None:
    if STATES.get(str(part.get("state"))) == "stopped":
        return 0.0
    each = price_of(str(part.get("hardware") or ""), types)
    replicas = max(part.get("desiredReplicas") or 0, part.get("readyReplicas") or 0) or 1
    return None if each is None else each * replicas


def _slug(model: str) -> str:
    """A name for the endpoint of a model: always the same, and of letters that any such name may have."""
    plain = re.sub(r"[^a-z0-9]+", "-", model.rpartition("/")[2].lower()).strip("-")[:40].rstrip("-")
    return f"tuneport-{plain}-{hashlib.sha256(model.encode()).hexdigest()[:8]}"
