"""An emulator of OpenAI's fine-tuning API: files, uploads, fine-tuning jobs, models and chat completions.

Sources: the published OpenAPI document (github.com/openai/openai-openapi), the `openai` package's client, and recorded
answers of the real service for wordings. Where only memory says how the service words an error, the status and code are
what to rely on, not the message. `trained_tokens` follows the billing rule found from real jobs (see `datasets`), with
exact vocabularies where they are installed and a deterministic approximation elsewhere.

Switches: `error_on_success` (True: an all-null `error` on jobs that did not fail, as the service sends; {}: an empty
one, as it also does; False: null), `refuse` (a key of REFUSALS: every creation of a job is turned down with it),
`base64_results`, `paused_status`, `exact_tokens`, and those of `EmulatedOpenAIFiles`.
"""

from __future__ import annotations

import base64
import re
from typing import Any

from tuneport.testing.emulators import inference
from tuneport.testing.emulators.openai.files import EmulatedOpenAIFiles
from tuneport.testing.emulators.openai.jobs import STATES, EmulatedOpenAIJob
from tuneport.testing.emulators.server import JSON, emulated_route
from tuneport.testing.emulators.timeline import EmulatedTimeline
from tuneport.testing.emulators.wire import EmulatedRequest, EmulatedResponse, emulated_event_stream

WIND_DOWN = (
    "OpenAI is winding down the fine-tuning platform and your organization is no longer able to create new fine-tuning "
    "training jobs. Learn more https://developers.openai.com/api/docs/deprecations#update-to-openais-self-serve-fine-tuning"
)
REFUSALS = {
    "training_not_available": (403, "invalid_request_error", WIND_DOWN),
    "insufficient_quota": (
        429, "insufficient_quota", "You exceeded your current quota, please check your plan and billing details. For "
        "more information on this error, read the docs: https://platform.openai.com/docs/guides/error-codes/api-errors.",
    ),
    "daily_rate_limit_exceeded": (
        429, "invalid_request_error", "This fine-tune request has been rate-limited. Your organization has reached the "
        "maximum of 24 fine-tuning requests per day for the model '{model}'.",
    ),
}  # fmt: skip
# What can still be tuned, with the day on which it and its fine-tunes shut down.
MODELS = {
    "gpt-4.1-2025-04-14": "2027-01-14",
    "gpt-4.1-mini-2025-04-14": "2027-01-14",
    "gpt-4o-2024-08-06": "2027-01-14",
    "gpt-4o-mini-2024-07-18": "2027-01-14",
}
ALIASES = {
    "gpt-4.1": "gpt-4.1-2025-04-14", "gpt-4.1-mini": "gpt-4.1-mini-2025-04-14", "gpt-4o": "gpt-4o-2024-08-06",
    "gpt-4o-mini": "gpt-4o-mini-2024-07-18", "gpt-3.5-turbo": "gpt-3.5-turbo-0125",
}  # fmt: skip
VISION_MODELS = ("gpt-4o-2024-08-06",)  # the guide to vision fine-tuning names it alone
RANGES = {
    "n_epochs": (1, 50), "batch_size": (1, 256), "learning_rate_multiplier": (1e-9, 1e9), "beta": (1e-9, 2),
    "compute_multiplier": (1.0001e-5, 10), "eval_interval": (1, 1e9), "eval_samples": (1, 1e9),
}  # fmt: skip
COMMON = ("n_epochs", "batch_size", "learning_rate_multiplier")


GRADERS = {
    "string_check": ("name", "input", "reference", "operation"),
    "text_similarity": ("name", "input", "reference", "evaluation_metric"),
    "python": ("name", "source"),
    "score_model": ("name", "input", "model"),
    "multi": ("name", "graders", "calculate_output"),
}


def _inner(grader: dict[str, Any]) -> list[Any]:
    """Return the graders of a multi-grader: one, as the published document has it, or by name, as its guide does."""
    given = grader.get("graders") or {}
    return [given] if "type" in given else list(given.values())


class OpenAIEmulator(EmulatedOpenAIFiles):
    vision_models: tuple[str, ...] = VISION_MODELS
    switches = (
        *EmulatedOpenAIFiles.switches,
        "error_on_success",
        "refuse",
        "base64_results",
        "paused_status",
        "exact_tokens",
    )

    def __init__(self, *, error_on_success: bool | dict[str, Any] = True, refuse: str | None = None,
                 base64_results: bool = False, paused_status: str = "paused", exact_tokens: bool = True,
                 organization: str = "emulated-org", models: dict[str, str | None] | None = None,
                 **options: Any):  # fmt: skip
        super().__init__(**options)
        self.error_on_success, self.refuse, self.base64_results = error_on_success, refuse, base64_results
        self.paused_status, self.exact_tokens, self.organization = paused_status, exact_tokens, organization
        self.models = dict(MODELS if models is None else models)
        self.started = self.now()
        self.jobs: dict[str, EmulatedOpenAIJob] = {}
        self.deleted_models: set[str] = set()

    def apply_elapsed_time(self) -> None:
        for job in self.jobs.values():
            if not job.fine_tuned_model and job.status(self.now()) == "succeeded":
                job.fine_tuned_model = job.model_name()
                content = job.result_csv()
                content = base64.b64encode(content) if self.base64_results else content
                job.result_file = self._add_file("step_metrics.csv", "fine-tune-results", content)["id"]

    # Fine-tuning jobs

    @emulated_route("POST", "/fine_tuning/jobs", body=JSON)
    def create_job(self, request: EmulatedRequest) -> dict[str, Any]:
        given = request.json()
        base = self._tunable(given.get("model"))
        files = [self._training_content(given, name) for name in ("training_file", "validation_file")]
        method = given.get("method") or {"type": "supervised"}
        self._check_options(given, method)
        if self.refuse:
            status, type, message = REFUSALS[self.refuse]
            raise self.error(status, message.format(model=base), code=self.refuse, type=type)
        plan = self.take_plan()
        job = EmulatedOpenAIJob(
            id=self.new_id("ftjob-"), base=base, start=given["model"] if given["model"] in self._tuned() else base,
            method=method["type"], options=method.get(method["type"]) or {},
            organization=self.organization, plan=plan,
            hyperparameters=self._hyperparameters(given, method), training_file=given["training_file"],
            training_content=files[0] or b"", validation_file=given.get("validation_file"), validation_content=files[1],
            suffix=given.get("suffix"), seed=given.get("seed") or self._identities, metadata=given.get("metadata"),
            integrations=given.get("integrations") or [], code=self.new_id("", 8),
            timeline=EmulatedTimeline(STATES, self.now(), self.pace if plan.pace is None else plan.pace, plan.stuck),
            exact_tokens=self.exact_tokens, takes_images=base in self.vision_models,
            checkpoint_codes=[self.new_id("", 8) for _ in range(3)],
        )  # fmt: skip
        self.jobs[job.id] = job
        self.jobs_created += 1
        return self._show(job)

    def _tunable(self, model: str | None) -> str:
        if not model:
            raise self.missing("model")
        tuned = self._tuned()
        base = tuned[model].base if model in tuned else ALIASES.get(model, model)
        if base not in self.models:
            raise self.error(400, f"Model {model} is not available for fine-tuning or does not exist.",
                             param="model", code="model_not_available")  # fmt: skip
        return base

    def _training_content(self, given: dict[str, Any], name: str) -> bytes | None:
        id = given.get(name)
        if id is None and name == "validation_file":
            return None
        if id not in self.files:
            raise self.error(400, f"invalid {name}: {id}", param=name, code="file_not_found")
        if self.files[id]["purpose"] != "fine-tune":
            raise self.error(400, f"File '{id}' does not have purpose 'fine-tune'", param=name)
        return self.contents[id]

    def _hyperparameters(self, given: dict[str, Any], method: dict[str, Any]) -> dict[str, Any]:
        own = (method.get(method["type"]) or {}).get("hyperparameters")
        return {**(given.get("hyperparameters") or {}), **(own or {})}

    def _check_options(self, given: dict[str, Any], method: dict[str, Any]) -> None:
        if method["type"] not in ("supervised", "dpo", "reinforcement"):
            raise self.error(400, f"Invalid value: '{method['type']}'.", param="method.type", code="invalid_value")
        if method["type"] == "reinforcement":
            self._check_grader((method.get("reinforcement") or {}).get("grader"), "method.reinforcement.grader")
        elif (method.get(method["type"]) or {}).get("grader"):
            raise self.error(400, f"A grader has no place in the method {method['type']}.", param="method")
        for name, value in self._hyperparameters(given, method).items():
            low, high = RANGES.get(name, (0, float("inf")))
            if name not in RANGES and name != "reasoning_effort":
                raise self.error(400, f"Unknown parameter: 'hyperparameters.{name}'.", code="unknown_parameter")
            if name in RANGES and value != "auto" and not low <= value <= high:
                message = f"{value} is not between {low} and {high} - '{name}'"
                raise self.error(400, message, param=f"hyperparameters.{name}")
        if given.get("suffix") is not None and not 1 <= len(given["suffix"]) <= 64:
            raise self.error(400, "Invalid 'suffix': its length must be 1 to 64.", param="suffix")
        metadata = given.get("metadata") or {}
        if len(metadata) > 16 or any(len(key) > 64 or len(value) > 512 for key, value in metadata.items()):
            message = "Invalid 'metadata': at most 16 pairs, keys to 64, values to 512 characters."
            raise self.error(400, message, param="metadata")

    # Graders

    def _check_grader(self, grader: Any, param: str) -> None:
        """Check what the service can see of a grader without rows: its type, its fields, its templates' namespaces."""
        if not isinstance(grader, dict):
            raise self.missing(param)
        needed = GRADERS.get(grader.get("type", ""))
        if needed is None:
            raise self.error(400, f"Invalid grader type: {grader.get('type')!r}.", param=param, code="invalid_grader")
        for name in needed:
            if not grader.get(name):
                raise self.error(400, f"Invalid grader: '{name}' is required.", param=f"{param}.{name}",
                                 code="invalid_grader")  # fmt: skip
        for inner in _inner(grader):
            self._check_grader(inner, f"{param}.graders")
        for text in (value for name, value in grader.items() if isinstance(value, str) and name != "source"):
            for namespace in re.findall(r"\{\{\s*(\w+)", text):
                if namespace not in ("item", "sample"):
                    raise self.error(400, f"Invalid template variable: {namespace}.", param=param,
                                     code="invalid_grader")  # fmt: skip

    @emulated_route("POST", "/fine_tuning/alpha/graders/validate", body=JSON)
    def validate_grader(self, request: EmulatedRequest) -> dict[str, Any]:
        grader = request.json().get("grader")
        self._check_grader(grader, "grader")
        return {"grader": grader}

    def _job(self, id: str) -> EmulatedOpenAIJob:
        job: EmulatedOpenAIJob = self._find(
            self.jobs, id, f"Could not find fine tune: {id}", "fine_tune_id", "fine_tune_not_found"
        )
        return job

    def _show(self, job: EmulatedOpenAIJob) -> dict[str, Any]:
        now, timeline = self.now(), job.timeline
        done, succeeded = job.has_ended(now), job.fine_tuned_model is not None
        status = self.paused_status if timeline.paused_at is not None and not done else job.status(now)
        nothing = {True: {"code": None, "message": None, "param": None}, False: None}
        harmless = nothing[self.error_on_success] if isinstance(self.error_on_success, bool) else self.error_on_success
        error = job.error(now) or harmless
        end = timeline.age(now) if job.cancelled else timeline.pace * (1 if job.validation_error else len(STATES))
        hyperparameters = job.shown_hyperparameters(now)
        common = {name: value for name, value in hyperparameters.items() if name in COMMON}
        return {
            "object": "fine_tuning.job", "id": job.id, "model": job.start, "created_at": int(timeline.created),
            "finished_at": int(timeline.time_of_age(end)) if done else None, "fine_tuned_model": job.fine_tuned_model,
            "organization_id": f"org-{self.organization}", "result_files": [job.result_file] if job.result_file else [],
            "status": status, "validation_file": job.validation_file, "training_file": job.training_file,
            "hyperparameters": common, "trained_tokens": job.trained_tokens if succeeded else None, "error": error,
            "user_provided_suffix": job.suffix, "seed": job.seed, "integrations": job.integrations,
            "metadata": job.metadata, "usage_metrics": None, "shared_with_openai": False,
            "estimated_finish": None if done else int(timeline.time_of_age(timeline.pace * len(STATES))),
            "method": {"type": job.method, job.method: {**job.options, "hyperparameters": hyperparameters}},
        }  # fmt: skip

    @emulated_route("GET", "/fine_tuning/jobs", query=("after", "limit", "metadata"))
    def list_jobs(self, request: EmulatedRequest) -> dict[str, Any]:
        wanted = {name[9:-1]: value for name, value in request.query.items() if name.startswith("metadata[")}
        jobs = [job for job in self.jobs.values() if self.now() - job.timeline.created >= self.list_lag]
        jobs = [job for job in jobs if wanted.items() <= (job.metadata or {}).items()]
        if request.query.get("metadata") == "null":
            jobs = [job for job in jobs if not job.metadata]
        earlier = [job for job in self.earlier if wanted.items() <= (job["metadata"] or {}).items()]
        return self._page(request, [self._show(job) for job in reversed(jobs)] + earlier)

    @emulated_route("GET", "/fine_tuning/jobs/{id}")
    def retrieve_job(self, request: EmulatedRequest, id: str) -> dict[str, Any]:
        return self._show(self._job(id))

    def _unfinished(self, id: str) -> EmulatedOpenAIJob:
        job = self._job(id)
        if job.has_ended(self.now()):
            raise self.error(400, f"Job has already completed: {id}", code="invalid_request_error")
        return job

    @emulated_route("POST", "/fine_tuning/jobs/{id}/cancel")
    def cancel_job(self, request: EmulatedRequest, id: str) -> dict[str, Any]:
        job = self._unfinished(id)
        job.timeline.stopped_at, job.cancelled = self.now(), True
        return self._show(job)

    @emulated_route("POST", "/fine_tuning/jobs/{id}/pause")
    def pause_job(self, request: EmulatedRequest, id: str) -> dict[str, Any]:
        job = self._unfinished(id)
        job.timeline.pause(self.now())
        return self._show(job)

    @emulated_route("POST", "/fine_tuning/jobs/{id}/resume")
    def resume_job(self, request: EmulatedRequest, id: str) -> dict[str, Any]:
        job = self._unfinished(id)
        job.timeline.resume(self.now())
        return self._show(job)

    @emulated_route("GET", "/fine_tuning/jobs/{id}/events", query=("after", "limit"))
    def list_events(self, request: EmulatedRequest, id: str) -> dict[str, Any]:
        return self._page(request, self._job(id).events(self.now()))

    @emulated_route("GET", "/fine_tuning/jobs/{id}/checkpoints", query=("after", "limit"))
    def list_checkpoints(self, request: EmulatedRequest, id: str) -> dict[str, Any]:
        page = self._page(request, self._job(id).checkpoints(self.now()), limit=10)
        ids = [checkpoint["id"] for checkpoint in page["data"]] or [None]
        return {**page, "first_id": ids[0], "last_id": ids[-1]}

    # Models and chat

    def _tuned(self) -> dict[str, EmulatedOpenAIJob]:
        """Return the tuned models that answer, checkpoints included."""
        names: dict[str, EmulatedOpenAIJob] = {}
        for job in self.jobs.values():
            if job.fine_tuned_model:
                names |= {point["fine_tuned_model_checkpoint"]: job for point in job.checkpoints(self.now())}
                names[job.fine_tuned_model] = job
        return {name: job for name, job in names.items() if name not in self.deleted_models}

    def _model(self, id: str) -> dict[str, Any]:
        tuned = self._tuned()
        base = tuned[id].base if id in tuned else ALIASES.get(id, id)
        if base not in self.models:
            message = f"The model `{id}` does not exist or you do not have access to it."
            raise self.error(404, message, param="model", code="model_not_found")
        created = tuned[id].timeline.created if id in tuned else self.started
        owner = self.organization if id in tuned else "system"
        return {"id": id, "object": "model", "created": int(created), "owned_by": owner,
                "shutdown_date": self.models[base]}  # fmt: skip

    @emulated_route("GET", "/models")
    def list_models(self, request: EmulatedRequest) -> dict[str, Any]:
        return {"object": "list", "data": [self._model(id) for id in [*self.models, *self._tuned()]]}

    @emulated_route("GET", "/models/{id}")
    def retrieve_model(self, request: EmulatedRequest, id: str) -> dict[str, Any]:
        return self._model(id)

    @emulated_route("DELETE", "/models/{id}")
    def delete_model(self, request: EmulatedRequest, id: str) -> dict[str, Any]:
        self._model(id)
        if id not in self._tuned():
            raise self.error(403, f"You have insufficient permissions to delete the model {id}.")
        self.deleted_models.add(id)
        return {"id": id, "object": "model", "deleted": True}

    @emulated_route("POST", "/chat/completions", body=JSON)
    def complete(self, request: EmulatedRequest) -> dict[str, Any] | EmulatedResponse:
        given = request.json()
        model = self._model(given.get("model", ""))["id"]
        job = self._tuned().get(model)
        said = inference.emulated_answer(job.rows if job else None, given.get("messages", []))
        said, reason = inference.limit_emulated_answer(
            said, given.get("max_completion_tokens") or given.get("max_tokens")
        )
        usage = inference.emulated_usage(given.get("messages", []), said)
        head = {"id": self.new_id("chatcmpl-"), "created": int(self.now()), "model": model}
        if not given.get("stream"):
            choice = {"message": {**said, "refusal": None}, "logprobs": None, "finish_reason": reason}
            choices = [{"index": index, **choice} for index in range(given.get("n") or 1)]
            return {**head, "object": "chat.completion", "choices": choices, "usage": usage}
        return emulated_event_stream(self._chunks(given, head, said, reason, usage))

    def _chunks(self, given: dict[str, Any], head: dict[str, Any], said: dict[str, Any], reason: str,
                usage: dict[str, int]) -> list[dict[str, Any]]:  # fmt: skip
        head |= {"object": "chat.completion.chunk", "service_tier": "default", "system_fingerprint": "fp_emulated"}
        first = {"role": "assistant", "content": None if said.get("tool_calls") else "", "refusal": None}
        chunks = []
        for delta in (first, *inference.emulated_stream_deltas(said), {}):
            for index in range(given.get("n") or 1):  # the choices take turns
                probable = inference.emulated_logprobs(delta) if given.get("logprobs") else None
                choice = {"index": index, "delta": delta, "logprobs": probable}
                chunks.append({**head, "choices": [choice | {"finish_reason": None if delta else reason}]})
        options = given.get("stream_options") or {}
        if options.get("include_usage"):
            chunks = [{**chunk, "usage": None} for chunk in chunks] + [{**head, "choices": [], "usage": usage}]
        if options.get("include_obfuscation", True):
            chunks = [{**chunk, "obfuscation": "x" * (number % 7)} for number, chunk in enumerate(chunks)]
        return chunks
