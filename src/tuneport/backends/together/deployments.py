"""Dedicated endpoints at Together (its v2 API): an endpoint has a name to chat with, and deployments that cost money.

The order of the calls is that of the vendor's own command line (together 3.1.1, `lib/cli/api/endpoints`): model and
configuration, endpoint, deployment, traffic; and backwards to stop: traffic, replicas to none, deployment, endpoint.
Names follow from the model, so that the same deploy again finds what there is. A deployment stops by itself after half
an hour without a request, unless told otherwise.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from typing import Any

from tuneport.backends.hosted.idempotency import send_idempotency_key
from tuneport.backends.together.endpoints import (
    LIVELIEST_FIRST,
    STATES,
    TogetherRegisteredModel,
    deployment_serves_model,
    parse_together_deployment,
    together_endpoint_name,
)
from tuneport.backends.together.hardware import (
    EndpointHardware,
    choose_together_hardware,
    find_together_endpoint_price,
    list_together_instance_types,
)
from tuneport.errors import (
    BudgetError,
    ConfigError,
    NotFoundError,
    ProviderError,
    RejectedError,
    UnavailableError,
    UnsupportedError,
)
from tuneport.formatting import money
from tuneport.types import Deployment, EndpointOffer

Call = Callable[[Callable[[], Any]], Any]

IDLE_MINUTES = 30
"""Until a deployment without requests stops: the shortest time that the API takes (30 to 1440, 0 for never)."""


class TogetherDedicatedEndpoints:
    """`read` calls and tries again, `once` calls once; both raise our errors. `project` names the account's project."""

    def __init__(self, provider: str, client: Any, *, read: Call, once: Call, project: str | None) -> None:
        self.provider, self._client, self._read, self._once = provider, client, read, once
        self._project = project

    @property
    def project(self) -> str:
        """Return TOGETHER_PROJECT_ID, else the project that the key belongs to."""
        if self._project is None:
            identity = self._read(self._client.whoami)
            project = getattr(identity, "project", None)
            if project is None:
                raise ConfigError(f"the key for {self.provider} belongs to no project; set TOGETHER_PROJECT_ID")
            self._project = str(project.id)
        return self._project

    # --- look -------------------------------------------------------------------------------------------------------

    def list_deployments(self, models: Iterable[str]) -> list[Deployment]:
        """Return all dedicated endpoints. `models`: the names of tuned models, whose endpoints are marked as such."""
        endpoints = self._endpoints()
        types = self._instance_types() if endpoints else []
        names = {together_endpoint_name(model): model for model in models}
        return [parse_together_deployment(endpoint, types, names) for endpoint in endpoints]

    def find_deployments(self, model: TogetherRegisteredModel) -> list[Deployment]:
        """Return the deployments of this model, the readiest first."""
        found = [
            parse_together_deployment(each, [], {})
            for each in self._endpoints()
            if deployment_serves_model(each, model)
        ]
        return sorted(found, key=lambda each: LIVELIEST_FIRST.index(each.status))

    def _endpoints(self) -> list[dict[str, Any]]:
        pages = self._read(lambda: list(self._client.endpoints.list(project_id=self.project, limit=500)))
        listed = [page.to_dict(mode="json", warnings=False) for page in pages]
        return [each for each in listed if each.get("endpointType") != "ENDPOINT_TYPE_SERVERLESS"]

    def _instance_types(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self._read(lambda: list_together_instance_types(self._client))
        return found

    # --- start ------------------------------------------------------------------------------------------------------

    def start_endpoint(
        self,
        model: TogetherRegisteredModel,
        *,
        hardware: str | None = None,
        replicas: int | None = None,
        inactive_timeout: int | None = None,
        max_usd_per_hour: float | None = None,
        agree: Callable[[EndpointOffer], None] = lambda offer: None,
    ) -> Deployment:
        """Return the endpoint of the model, made or started if it is not up.

        `hardware`: a part of an instance type's name, by default the cheapest that fits. `replicas`: 1 by default.
        `inactive_timeout` in minutes, 0 for never: `IDLE_MINUTES` by default. Settings that are not given leave an
        existing endpoint unchanged. Raises BudgetError before anything is changed if it would cost more than
        `max_usd_per_hour`, and what `agree` raises, which is called with the price of what would start.
        """
        if inactive_timeout and not 30 <= inactive_timeout <= 1440:
            raise ConfigError(f"inactive_timeout is {inactive_timeout}; it is 30 to 1440 minutes, or 0 for never")
        if replicas is not None and replicas < 1:
            raise ConfigError(f"replicas is {replicas}; it is 1 or more (`tuneport undeploy` stops an endpoint)")
        endpoint = self._named(together_endpoint_name(model.name))
        part = next(iter((endpoint or {}).get("deployments") or []), None)
        price: float | None = None
        if endpoint is not None and part is not None:
            idle = self._again(endpoint, part, model, hardware, replicas, inactive_timeout, max_usd_per_hour, agree)
        else:
            choice, count = self._choose(model, hardware), replicas or 1
            price = None if choice.usd_per_hour is None else choice.usd_per_hour * count
            idle = IDLE_MINUTES if inactive_timeout is None else inactive_timeout
            _within(max_usd_per_hour, _offer(model, choice.hardware, choice.usd_per_hour, count, idle), agree)
            endpoint = endpoint or self._endpoint(together_endpoint_name(model.name))
            part = self._create(endpoint, choice, {"min_replicas": count, "max_replicas": count}, idle)
        self._route(endpoint, str(part["id"]))
        again = self._read(lambda: self._client.endpoints.retrieve(endpoint["id"], project_id=self.project))
        shown = parse_together_deployment(
            again.to_dict(mode="json", warnings=False),
            self._instance_types(),
            {together_endpoint_name(model.name): model.name},
        )
        told = {} if idle is None else {"inactive_timeout_minutes": idle}
        price = price if shown.usd_per_hour is None else shown.usd_per_hour
        return shown.model_copy(update={"details": shown.details | told, "usd_per_hour": price})

    def _again(
        self,
        endpoint: Mapping[str, Any],
        part: Mapping[str, Any],
        model: TogetherRegisteredModel,
        hardware: str | None,
        replicas: int | None,
        inactive_timeout: int | None,
        max_usd_per_hour: float | None,
        agree: Callable[[EndpointOffer], None],
    ) -> int | None:
        """Update an existing deployment to the given settings; returns its inactive timeout."""
        status, runs_on = STATES.get(str(part.get("state"))), str(part.get("hardware") or "")
        if status == "failed":
            raise RejectedError(
                f"the endpoint {endpoint['id']} of {model.name} has failed at {self.provider}; `tuneport undeploy "
                f"{endpoint['id']}` removes it, then deploy again",
                provider=self.provider,
            )
        if hardware is not None and hardware.lower() not in runs_on.lower():
            raise UnsupportedError(
                f"the endpoint {endpoint['id']} of {model.name} runs on {runs_on}, not on {hardware}; `tuneport "
                f"undeploy {endpoint['id']}` first"
            )
        count = replicas or part.get("desiredReplicas") or 1
        each = find_together_endpoint_price(runs_on, self._instance_types())
        stopped = status in ("stopped", "stopping")
        dearer = stopped or count > (part.get("desiredReplicas") or 0)
        offer = _offer(model, runs_on, each, count, inactive_timeout)
        _within(max_usd_per_hour, offer, agree if dearer else lambda offer: None)
        changes: dict[str, Any] = {}
        if stopped or (replicas is not None and replicas != part.get("desiredReplicas")):
            changes["autoscaling"] = {"min_replicas": count, "max_replicas": count}
        if inactive_timeout is not None:
            changes["inactive_timeout"] = inactive_timeout
        if changes:
            masks = {"autoscaling": "autoscaling", "inactive_timeout": "inactiveTimeout"}
            self._update(endpoint["id"], part["id"], ",".join(masks[name] for name in changes), **changes)
        get = self._client.endpoints.deployments.retrieve
        whole = self._read(lambda: get(part["id"], endpoint_id=endpoint["id"], project_id=self.project))
        return int(whole.inactive_timeout or 0)

    def _choose(self, model: TogetherRegisteredModel, hardware: str | None) -> EndpointHardware:
        models = self._client.models
        weights = self._read(lambda: models.retrieve(model.ids[0], project_id=self.project)).to_dict(
            mode="json", warnings=False
        )
        reference = weights.get("baseModelId") or weights["id"]
        listed = self._read(lambda: list(models.configs.list(project_id=self.project, reference_model_id=reference)))
        configs = [config.to_dict(mode="json", warnings=False) for config in listed]
        path = f"projects/{weights['projectId']}/models/{weights['id']}"
        return choose_together_hardware(self.provider, model.name, path, configs, self._instance_types(), hardware)

    def _endpoint(self, name: str) -> dict[str, Any]:
        """Return the endpoint of that name, made if needed."""
        create = self._client.endpoints.create
        found = self._named(name)
        if found is not None:
            return found
        try:
            made = self._once(lambda: create(project_id=self.project, name=name, visibility="VISIBILITY_PRIVATE"))
            endpoint: dict[str, Any] = made.to_dict(mode="json", warnings=False)
            return endpoint
        except ProviderError as error:  # a conflict, or a lost answer: it costs nothing, so look again
            found = self._named(name) if error.http_status in (None, 409) or error.retryable else None
            if found is None:
                raise
            return found

    def _named(self, name: str) -> dict[str, Any] | None:
        return next((each for each in self._endpoints() if each["name"].rpartition("/")[2] == name), None)

    def _create(
        self, endpoint: Mapping[str, Any], choice: EndpointHardware, scaling: Mapping[str, int], idle: int
    ) -> dict[str, Any]:
        """Create the deployment: the call that spends money, made once. If its answer is lost, the deployment is looked
        for."""
        create, id = self._client.endpoints.deployments.create, endpoint["id"]
        try:
            with send_idempotency_key(uuid.uuid4().hex, "/deployments"):
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
            deployment: dict[str, Any] = made.to_dict(mode="json", warnings=False)
            return deployment
        except UnavailableError as error:
            parts = self._parts(id)
            if not parts:
                raise UnavailableError(
                    f"{error}; whether the deployment started is not known: `tuneport deployments` shows it, "
                    f"`tuneport undeploy {id}` stops it",
                    provider=self.provider,
                ) from error
            return {"id": parts[0]["id"]}
        except ProviderError:
            with suppress(ProviderError):  # without a deployment it costs nothing; why there is none matters more
                self._read(lambda: self._client.endpoints.delete(id, project_id=self.project))
            raise

    def _parts(self, id: str) -> list[dict[str, Any]]:
        """Return the endpoint's deployments, or none if the service does not say, perhaps because it limits us."""
        try:
            again = self._read(lambda: self._client.endpoints.retrieve(id, project_id=self.project))
        except ProviderError:
            return []
        return again.to_dict(mode="json", warnings=False).get("deployments") or []

    def _route(self, endpoint: Mapping[str, Any], deployment: str) -> None:
        """Route traffic to a deployment. Without a share it costs and answers nothing, so if that fails it is
        stopped."""
        if any(entry.get("deploymentId") == deployment for entry in endpoint.get("trafficSplit") or []):
            return
        split = [{"deployment_id": deployment, "weight": 1}]
        try:
            self._split(endpoint["id"], split)
        except ProviderError as error:
            try:
                self.stop_endpoint(endpoint["id"])
            except ProviderError:
                raise type(error)(
                    f"{error}; the endpoint {endpoint['id']} runs and costs money: `tuneport undeploy "
                    f"{endpoint['id']}` stops it",
                    provider=self.provider,
                ) from error
            raise

    # --- stop -------------------------------------------------------------------------------------------------------

    def stop_model_endpoint(self, model: TogetherRegisteredModel) -> None:
        """Stop the endpoint that `start` makes for the model; others that serve it may serve more models."""
        if (endpoint := self._named(together_endpoint_name(model.name))) is not None:
            self.stop_endpoint(endpoint["id"])

    def stop_endpoint(self, id: str) -> None:
        """Delete the endpoint and its deployments, and verify that they are gone. Does nothing if they already are."""
        endpoints = self._client.endpoints
        try:
            endpoint = self._read(lambda: endpoints.retrieve(id, project_id=self.project)).to_dict(
                mode="json", warnings=False
            )
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


def _offer(
    model: TogetherRegisteredModel, hardware: str, each: float | None, replicas: int, idle: int | None
) -> EndpointOffer:
    price = None if each is None else each * replicas
    return EndpointOffer(model=model.name, hardware=hardware, replicas=replicas, usd_per_hour=price, idle_minutes=idle)


def _within(most: float | None, offer: EndpointOffer, agree: Callable[[EndpointOffer], None]) -> None:
    if most is not None and (offer.usd_per_hour is None or offer.usd_per_hour > most):
        asked = "an unknown price" if offer.usd_per_hour is None else money(offer.usd_per_hour)
        raise BudgetError(
            f"an endpoint for {offer.model} on {offer.hardware} costs {asked} an hour, more than {money(most)}; "
            "nothing was started; raise the limit or name other hardware"
        )
    agree(offer)
