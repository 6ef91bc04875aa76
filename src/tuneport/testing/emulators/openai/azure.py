"""An emulator of Azure OpenAI: the same API under `/openai/v1`, and what is different there.

The key comes in the header `api-key`; a POST without a body is answered with 411; tuned models are named
`BASE.ft-JOB` and answer only through a deployment (`deploy`); jobs take a `trainingType` and have more words for their
states. Sources: MicrosoftDocs/azure-ai-docs (fine-tuning-rest.md, fine-tuning-deploy.md), and reports of users for the
411; the words of states and the wording of errors are from memory.
"""

from __future__ import annotations

import dataclasses
from typing import Any

from tuneport.testing.emulators import inference
from tuneport.testing.emulators.openai.emulator import OpenAIEmulator
from tuneport.testing.emulators.openai.jobs import EmulatedOpenAIJob
from tuneport.testing.emulators.server import JSON, RouteInput, emulated_route
from tuneport.testing.emulators.wire import EmulatedApiError, EmulatedRequest, EmulatedResponse, emulated_reply

TRAINING_TYPES = ("standard", "globalstandard", "developertier")
WORDS = {"validating_files": "pending", "queued": "notRunning"}


class AzureEmulator(OpenAIEmulator):
    name, default_key, prefix, base_path = "azure", "0123456789abcdef0123456789abcdef", "/openai/v1", "/openai/v1"
    vision_models = ("gpt-4o-2024-08-06", "gpt-4.1-2025-04-14")

    def __init__(self, **options: Any):
        super().__init__(**options)
        self.deployments: dict[str, str] = {}
        self.training_types: dict[str, str] = {}

    def refuse_undeclared(self, request: EmulatedRequest, taken: RouteInput | None) -> None:
        """Refuse as OpenAI does, except for the empty object without which there would be no length."""
        if taken is None or taken.body is not None or request.body != b"{}":
            super().refuse_undeclared(request, taken)

    def deploy(self, name: str, model: str) -> None:
        """Deploy as the portal or the control plane would."""
        self.deployments[name] = model

    def refuse_key(self, given: str | None) -> EmulatedApiError:
        message = "Access denied due to invalid subscription key or wrong API endpoint."
        return self.error(401, message, code="401")

    def _dispatch(self, request: EmulatedRequest) -> EmulatedResponse:
        if request.method == "POST" and not request.body:
            body = b"<h2>HTTP Error 411. The request must be chunked or have a content length.</h2>"
            return EmulatedResponse(body, 411, {"content-type": "text/html"})
        given = request.headers.get("api-key")
        headers = {name: value for name, value in request.headers.items() if name != "authorization"}
        return super()._dispatch(
            dataclasses.replace(request, headers=headers | ({"authorization": f"Bearer {given}"} if given else {}))
        )

    def apply_elapsed_time(self) -> None:
        super().apply_elapsed_time()
        for job in self.jobs.values():
            if job.fine_tuned_model and job.fine_tuned_model.startswith("ft:"):
                job.fine_tuned_model = f"{job.base}.ft-{job.id.removeprefix('ftjob-')}"

    @emulated_route("POST", "/fine_tuning/jobs", body=JSON)
    def create_job(self, request: EmulatedRequest) -> dict[str, Any]:
        kind = request.json().get("trainingType", "standard")
        if kind.lower() not in TRAINING_TYPES:
            raise self.error(400, f"Invalid trainingType: {kind}", param="trainingType")
        shown = super().create_job(request)
        self.training_types[shown["id"]] = kind
        return {**shown, "trainingType": kind}

    def _show(self, job: EmulatedOpenAIJob) -> dict[str, Any]:
        shown = super()._show(job)
        shown["status"] = WORDS.get(shown["status"], shown["status"])
        return {**shown, "trainingType": self.training_types.get(job.id, "standard")}

    @emulated_route("POST", "/chat/completions", body=JSON)
    def complete(self, request: EmulatedRequest) -> dict[str, Any] | EmulatedResponse:
        name = request.json().get("model", "")
        if name not in self.deployments:
            message = "The API deployment for this resource does not exist."
            return emulated_reply(self.error(404, message, code="DeploymentNotFound").payload, 404)
        job = self._tuned().get(self.deployments[name])
        given = request.json()
        said = inference.emulated_answer(job.rows if job else None, given.get("messages", []))
        choice = {"index": 0, "message": {**said, "refusal": None}, "logprobs": None, "finish_reason": "stop"}
        return {"id": self.new_id("chatcmpl-"), "created": int(self.now()), "model": name, "object": "chat.completion",
                "choices": [choice], "usage": inference.emulated_usage(given.get("messages", []), said)}  # fmt: skip
