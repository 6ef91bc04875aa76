"""The v2 half of the Together emulator: models, configurations, hardware, endpoints, deployments.

Shapes, state words and rules are those of the `together` package 3.1.1 (`types/`, and its command line for the order in
which things must be taken apart). Which error the service answers with where one is broken is not published: 409
here. Prices are those of the public page. A deployment starts in one `pace`, and stops by itself when it is idle for
its `inactiveTimeout`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from tuneport.testing.emulators.server import Emulator, emulated_route
from tuneport.testing.emulators.together.jobs import EmulatedTogetherJob, emulated_time
from tuneport.testing.emulators.wire import EmulatedApiError, EmulatedRequest

PROJECT = {"id": "proj_emulated", "name": "Emulated", "slug": "emulated-org"}
ORGANISATION = "org_emulated"
CATALOGUE = "proj_together"  # owns the base models and their configurations
INSTANCES: list[dict[str, Any]] = [
    {"id": "it_h100", "name": "1xnvidia-h100-80gb", "gpuType": "H100", "gpuCount": 1, "gpuMemoryGib": 80,
     "priceCentsPerHour": 399},
    {"id": "it_b200", "name": "1xnvidia-b200-180gb", "gpuType": "B200", "gpuCount": 1, "gpuMemoryGib": 180,
     "priceCentsPerHour": 899},
]  # fmt: skip


@dataclass(eq=False)
class EmulatedDeployment:
    id: str
    name: str
    model: str
    config: str
    hardware: str
    replicas: int
    idle_minutes: int
    created: float
    started: float
    asked: float  # when it last answered, or started

    def state(self, now: float, pace: float) -> str:
        idle = self.idle_minutes and now - self.asked >= self.idle_minutes * 60
        word = "STOPPED" if not self.replicas or idle else "READY" if now - self.started >= pace else "PROVISIONING"
        return f"DEPLOYMENT_STATE_{word}"


@dataclass(eq=False)
class EmulatedEndpoint:
    id: str
    name: str
    created: float
    split: list[dict[str, Any]] = field(default_factory=list)
    deployments: dict[str, EmulatedDeployment] = field(default_factory=dict)


class EmulatedTogetherDeployments(Emulator):
    """`deployments_created`: how often money began to be spent. `running()`: what is billed at this moment."""

    jobs: dict[str, EmulatedTogetherJob]

    def __init__(self, **options: Any):
        super().__init__(**options)
        self.endpoints: dict[str, EmulatedEndpoint] = {}
        self.deployments_created = 0

    def running(self) -> list[EmulatedDeployment]:
        parts = [part for each in self.endpoints.values() for part in each.deployments.values()]
        return [part for part in parts if not part.state(self.now(), self.pace).endswith("STOPPED")]

    def serving(self, name: str) -> EmulatedTogetherJob | None:
        """Return the job whose model the endpoint of that name serves now; 503 while it is not up."""
        for endpoint in self.endpoints.values():
            if f"{PROJECT['slug']}/{endpoint.name}" != name:
                continue
            live = [endpoint.deployments[entry["deploymentId"]] for entry in endpoint.split if entry["weight"]]
            ready = [part for part in live if part.state(self.now(), self.pace).endswith("READY")]
            if not ready:
                raise self.error(503, f"The endpoint {name} has no ready deployment", type="server_error")
            ready[0].asked = self.now()
            return self._job_of_model(ready[0].model.split("/")[3])
        return None

    def _job_of_model(self, id: str) -> EmulatedTogetherJob | None:
        return next((job for job in self.jobs.values() if id in (f"ml_{job.id}", f"ml_{job.id}_adapter")), None)

    # Who asks, models and hardware

    @emulated_route("GET", "/whoami", prefix="/v3", documented=False)
    def whoami(self, request: EmulatedRequest) -> dict[str, Any]:
        organisation = {"id": ORGANISATION, "name": "Emulated"}
        return {"type": "project_api_key", "api_key": {"id": "key_emulated"}, "organization": organisation,
                "project": PROJECT}  # fmt: skip

    @emulated_route("GET", "/projects/{project}/models/{id}", prefix="/v2", documented=False)
    def retrieve_model(self, request: EmulatedRequest, project: str, id: str) -> dict[str, Any]:
        job = self._job_of_model(id)
        if job is None or job.status(self.now()) != "completed" or project != PROJECT["id"]:
            raise self.error(404, f"Model not found: {id}", code="not_found")
        adapter = id.endswith("_adapter")
        base = "ml_base_" + job.request["model"].replace("/", "_")
        return {
            "id": id, "name": job.output_name + ("-adapter" if adapter else ""), "organizationId": ORGANISATION,
            "projectId": project, "visibility": "VISIBILITY_PRIVATE", "baseModelId": base,
            "baseModel": f"projects/{CATALOGUE}/models/{base}",
            "weights": {"type": "WEIGHTS_TYPE_ADAPTER" if adapter else "WEIGHTS_TYPE_DEFAULT"},
        }  # fmt: skip

    @emulated_route("GET", "/projects/{project}/configs", prefix="/v2", documented=False)
    def list_configs(self, request: EmulatedRequest, project: str) -> dict[str, Any]:
        reference = request.query.get("referenceModelId", "")
        found = [] if not reference.startswith("ml_base_") else [self._config(row, reference) for row in INSTANCES]
        return {"object": "list", "data": list(reversed(found)), "next_cursor": None}

    def _config(self, instance: dict[str, Any], reference: str) -> dict[str, Any]:
        selectors = {"accelerator_count": "1", "accelerator_type": instance["name"].removeprefix("1x")}
        return {
            "id": f"cr_{instance['gpuType'].lower()}", "certifications": [], "projectId": CATALOGUE,
            "referenceModel": f"projects/{CATALOGUE}/models/{reference}", "referenceModelId": reference,
            "selectors": [{"key": key, "value": value} for key, value in selectors.items()],
        }  # fmt: skip

    @emulated_route("GET", "/public/inference-instance-types", prefix="/v2", documented=False)
    def list_hardware(self, request: EmulatedRequest) -> dict[str, Any]:
        rows = [{**row, "description": row["name"], "regions": [{"name": "us-central"}]} for row in INSTANCES]
        return {"object": "list", "data": rows, "next_cursor": None}

    # Endpoints

    @emulated_route("POST", "/projects/{project}/endpoints", prefix="/v2", documented=False)
    def create_endpoint(self, request: EmulatedRequest, project: str) -> dict[str, Any]:
        name = request.json()["name"]
        if any(each.name == name for each in self.endpoints.values()):
            raise self.error(409, f"An endpoint named {name} exists", param="name", code="already_exists")
        endpoint = EmulatedEndpoint(self.new_id("ep_"), name, self.now())
        self.endpoints[endpoint.id] = endpoint
        return self._shown(endpoint)

    @emulated_route("GET", "/projects/{project}/endpoints", prefix="/v2", documented=False)
    def list_endpoints(self, request: EmulatedRequest, project: str) -> dict[str, Any]:
        """Return two a page, so that a caller that reads one page misses some."""
        ids = list(self.endpoints)
        start = ids.index(request.query["after"]) + 1 if "after" in request.query else 0
        page, more = ids[start : start + 2], len(ids) > start + 2
        shown = [self._shown(self.endpoints[id]) for id in page]
        return {"object": "list", "data": shown, "next_cursor": page[-1] if more else None}

    @emulated_route("GET", "/projects/{project}/endpoints/{id}", prefix="/v2", documented=False)
    def retrieve_endpoint(self, request: EmulatedRequest, project: str, id: str) -> dict[str, Any]:
        return self._shown(self._endpoint(id))

    @emulated_route("PATCH", "/projects/{project}/endpoints/{id}", prefix="/v2", documented=False)
    def update_endpoint(self, request: EmulatedRequest, project: str, id: str) -> dict[str, Any]:
        endpoint, split = self._endpoint(id), request.json().get("trafficSplit")
        if split is not None:
            if unknown := [row["deploymentId"] for row in split if row["deploymentId"] not in endpoint.deployments]:
                raise self.error(400, f"No such deployment: {unknown[0]}", param="trafficSplit")
            endpoint.split = split
        return self._shown(endpoint)

    @emulated_route("DELETE", "/projects/{project}/endpoints/{id}", prefix="/v2", documented=False)
    def delete_endpoint(self, request: EmulatedRequest, project: str, id: str) -> dict[str, Any]:
        if self._endpoint(id).deployments:
            raise self._conflict(f"Endpoint {id} has deployments; delete them first")
        del self.endpoints[id]
        return {}

    # Deployments

    @emulated_route("POST", "/projects/{project}/endpoints/{id}/deployments", prefix="/v2", documented=False)
    def create_deployment(self, request: EmulatedRequest, project: str, id: str) -> dict[str, Any]:
        endpoint, given = self._endpoint(id), request.json()
        job = self._job_of_model(given["model"].split("/")[3])
        instance = next((row for row in INSTANCES if given["config"].endswith(f"cr_{row['gpuType'].lower()}")), None)
        if job is None or instance is None:
            raise self.error(400, "The model or its config does not exist", param="model")
        idle = given.get("inactiveTimeout", 0)
        if idle and not 30 <= idle <= 1440:
            raise self.error(400, "inactiveTimeout must be 0 or within 30 and 1440", param="inactiveTimeout")
        now = self.now()
        part = EmulatedDeployment(
            self.new_id("dep_"), given["name"], given["model"], given["config"], instance["name"],
            given["autoscaling"].get("minReplicas", 1), idle, now, now, now,
        )  # fmt: skip
        endpoint.deployments[part.id] = part
        self.deployments_created += 1
        return self._shown_whole(endpoint, part)

    @emulated_route("GET", "/projects/{project}/endpoints/{id}/deployments/{part}", prefix="/v2", documented=False)
    def retrieve_deployment(self, request: EmulatedRequest, project: str, id: str, part: str) -> dict[str, Any]:
        return self._shown_whole(self._endpoint(id), self._deployment(id, part))

    @emulated_route("PATCH", "/projects/{project}/endpoints/{id}/deployments/{part}", prefix="/v2", documented=False)
    def update_deployment(self, request: EmulatedRequest, project: str, id: str, part: str) -> dict[str, Any]:
        endpoint, deployment = self._endpoint(id), self._deployment(id, part)
        scaling = request.json().get("autoscaling") or {}
        deployment.idle_minutes = request.json().get("inactiveTimeout", deployment.idle_minutes)
        if "minReplicas" in scaling:
            deployment.replicas = scaling["minReplicas"]
            deployment.started = deployment.asked = self.now()
        return self._shown_whole(endpoint, deployment)

    @emulated_route("DELETE", "/projects/{project}/endpoints/{id}/deployments/{part}", prefix="/v2", documented=False)
    def delete_deployment(self, request: EmulatedRequest, project: str, id: str, part: str) -> dict[str, Any]:
        endpoint, deployment = self._endpoint(id), self._deployment(id, part)
        if any(row["deploymentId"] == part for row in endpoint.split):
            raise self._conflict(f"Deployment {part} receives traffic; take it out of the split first")
        if deployment.replicas:
            raise self._conflict(f"Deployment {part} has replicas; scale it to 0 first")
        del endpoint.deployments[part]
        return {}

    def _conflict(self, message: str) -> EmulatedApiError:
        return self.error(409, message, code="failed_precondition")

    def _endpoint(self, id: str) -> EmulatedEndpoint:
        if id not in self.endpoints:
            raise self.error(404, f"Endpoint not found: {id}", code="not_found")
        return self.endpoints[id]

    def _deployment(self, id: str, part: str) -> EmulatedDeployment:
        found = self._endpoint(id).deployments.get(part)
        if found is None:
            raise self.error(404, f"Deployment not found: {part}", code="not_found")
        return found

    def _shown(self, endpoint: EmulatedEndpoint) -> dict[str, Any]:
        now, prefix = self.now(), f"{PROJECT['slug']}/{endpoint.name}"
        parts = [
            {
                **self._part(endpoint, part), "estimatedEffectiveTrafficShare": 0.0,
                "state": part.state(now, self.pace),
                "readyReplicas": part.replicas if part.state(now, self.pace).endswith("READY") else 0,
            }
            for part in endpoint.deployments.values()
        ]  # fmt: skip
        return {
            "id": endpoint.id, "createdAt": emulated_time(endpoint.created), "deployments": parts,
            "endpointType": "ENDPOINT_TYPE_DEDICATED", "etag": "1", "name": prefix, "projectId": PROJECT["id"],
            "trafficSplit": endpoint.split, "updatedAt": emulated_time(now), "visibility": "VISIBILITY_PRIVATE",
        }  # fmt: skip

    def _shown_whole(self, endpoint: EmulatedEndpoint, part: EmulatedDeployment) -> dict[str, Any]:
        now = self.now()
        return {
            **self._part(endpoint, part), "config": part.config, "configId": part.config.split("/")[3],
            "endpointId": endpoint.id, "etag": "1", "modelRevisionId": "rv_1", "projectId": PROJECT["id"],
            "status": {"state": part.state(now, self.pace), "message": ""}, "updatedAt": emulated_time(now),
            "inactiveTimeout": part.idle_minutes,
        }  # fmt: skip

    def _part(self, endpoint: EmulatedEndpoint, part: EmulatedDeployment) -> dict[str, Any]:
        """Return what a deployment's own document and its endpoint's say of it alike."""
        return {
            "id": part.id, "autoscaling": {"minReplicas": part.replicas, "maxReplicas": part.replicas},
            "createdAt": emulated_time(part.created), "model": part.model, "modelId": part.model.split("/")[3],
            "name": f"{PROJECT['slug']}/{endpoint.name}/{part.name}", "hardware": part.hardware,
            "trafficMode": "TRAFFIC_MODE_LIVE", "desiredReplicas": part.replicas,
        }  # fmt: skip
