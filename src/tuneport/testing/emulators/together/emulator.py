"""An emulator of Together's fine-tuning API: files in three steps, prices, jobs, downloads and chat completions.

Sources: Together's published OpenAPI document with additions read from the `together` package 3.1.1, and that
package's client. The base URL is without /v1, as the SDK wants it. Prices follow the public table and billing rule
(epochs x training tokens + evaluations x validation tokens, $4 at least; without packing, of which an estimate is not
told, rows x max_seq_length). A packed job takes its steps by the sequences that its rows fill. Token counts are a
deterministic approximation, the same in the preview, the estimate and the bill. What the service says to a creation
with an unvalidated file, or to the cancelling of an ended job, is not published: both are answered with 400 here.

Switches: `serverless_tuned` (False: a tuned model answers only that it needs an endpoint), `user_limit` (USD; jobs
beyond it are not `allowed_to_proceed`), and those of the weights (`together_weights`).
"""

from __future__ import annotations

import hashlib
from datetime import datetime
from typing import Any

from tuneport.testing.emulators import inference
from tuneport.testing.emulators.datasets import emulated_images, emulated_row_texts
from tuneport.testing.emulators.server import JSON, emulated_route
from tuneport.testing.emulators.timeline import EmulatedJobPlan, EmulatedTimeline
from tuneport.testing.emulators.together.deployments import EmulatedTogetherDeployments
from tuneport.testing.emulators.together.files import EmulatedTogetherFiles, emulated_preview_tokens
from tuneport.testing.emulators.together.jobs import MODELS, STATES, EmulatedTogetherJob, emulated_model_limits
from tuneport.testing.emulators.together.weights import EmulatedTogetherWeights
from tuneport.testing.emulators.wire import EmulatedApiError, EmulatedRequest, EmulatedResponse, emulated_event_stream

DEFAULTS = {
    "n_epochs": 1, "n_evals": 0, "n_checkpoints": 1, "batch_size": "max", "learning_rate": 1e-5, "random_seed": 42,
    "packing": True, "warmup_ratio": 0.0, "max_grad_norm": 1.0, "weight_decay": 0.0, "suffix": None,
    "training_type": {"type": "Lora", "lora_r": 16, "lora_alpha": 32},
    "training_method": {"method": "sft", "train_on_inputs": "auto"},
}  # fmt: skip
SUFFIX_LENGTH = 40
METRIC_FILTERS = ("global_step_from", "global_step_to", "logged_at_from", "logged_at_to", "resolution")


class TogetherEmulator(EmulatedTogetherFiles, EmulatedTogetherDeployments, EmulatedTogetherWeights):
    switches = (
        *EmulatedTogetherFiles.switches,
        "serverless_tuned",
        "user_limit",
        "archive",
        "ranges",
        "etags",
        "checksums",
    )

    def __init__(self, *, serverless_tuned: bool = False, user_limit: float = 100.0, **options: Any):
        super().__init__(**options)
        self.serverless_tuned, self.user_limit = serverless_tuned, user_limit
        self.models = dict(MODELS)
        self.jobs: dict[str, EmulatedTogetherJob] = {}

    # Before a job

    @emulated_route("GET", "/fine-tunes/models/limits", query=("model_name",))
    def model_limits(self, request: EmulatedRequest) -> dict[str, Any]:
        name = request.query.get("model_name", "")
        if name not in self.models and name not in self.jobs:
            # This one answer is not in the envelope.
            raise EmulatedApiError(404, {"message": f"Model {name} not found or not supported for fine-tuning"})
        name = self.jobs[name].request["model"] if name in self.jobs else name
        return emulated_model_limits(name, self.models[name])

    @emulated_route("GET", "/fine-tunes/models/supported")
    def supported_models(self, request: EmulatedRequest) -> dict[str, Any]:
        return {"models": list(self.models)}

    @emulated_route("POST", "/fine-tunes/estimate-price", body=JSON)
    def estimate_price(self, request: EmulatedRequest) -> dict[str, Any]:
        given = request.json()
        for param, word in (("training_file", "train"), ("validation_file", "eval")):
            if param == "training_file" or given.get(param):
                file = self._file(given.get(param), param)
                status = file.status(self.now())
                if status != "COMPLETED":
                    reason = f"{word}_file_{'invalid' if status == 'INVALID_FORMAT' else 'not_validated'}"
                    return {"estimation_available": False, "unavailable_reason": reason}
                if file.multimodal:
                    return {"estimation_available": False, "unavailable_reason": "multimodal_dataset"}
        job = self._draft(given)
        train, evals = job.tokens()
        return {
            "estimation_available": True, "estimated_total_price": round(job.price(), 6), "user_limit": self.user_limit,
            "estimated_train_token_count": train, "estimated_eval_token_count": evals,
            "allowed_to_proceed": job.price() <= self.user_limit,
        }  # fmt: skip

    @emulated_route("POST", "/fine-tunes/preview", body=JSON)
    def preview(self, request: EmulatedRequest) -> dict[str, Any]:
        given = request.json()
        if given.get("model") not in self.models:
            message = f"Model {given.get('model')} not found or not supported for fine-tuning"
            raise self.error(404, message, param="model")
        file, on_inputs = self._file(given.get("training_file"), "training_file"), given.get("train_on_inputs", False)
        if file.status(self.now()) != "COMPLETED" or file.format not in ("general", "conversation", "instruction"):
            raise self.error(400, "The training file cannot be previewed", param="training_file")
        shown = []
        for row in file.rows[: given.get("top_k") or 10]:
            tokens: list[tuple[str, int]] = []
            labels: list[int] = []
            spans: list[list[int]] = []
            for (role, _), words in zip(emulated_row_texts(row), emulated_preview_tokens(row), strict=True):
                ids = [int(hashlib.sha256(word.encode()).hexdigest()[:4], 16) for word in words]
                trained = on_inputs or role in ("assistant", "completion", "text")
                if trained:
                    spans.append([len(tokens), len(tokens) + len(words)])
                labels += ids if trained else [-100] * len(ids)
                tokens += list(zip(words, ids, strict=True))
            shown.append({
                "input_ids": [id for _, id in tokens], "labels": labels, "tokens": [word for word, _ in tokens],
                "num_tokens": len(tokens), "num_trained_tokens": sum(label != -100 for label in labels),
                "trained_spans": spans, "truncated": False,
            })  # fmt: skip
        context = self.models[given["model"]].context_sft
        return {"dataset_format": file.format, "max_seq_length": context, "model": given["model"], "rows": shown,
                "train_on_inputs": on_inputs}  # fmt: skip

    # Jobs

    def _draft(self, given: dict[str, Any]) -> EmulatedTogetherJob:
        """Return a new job from a request, not yet stored. Raises 400 for what the service would not take."""
        settings = {**DEFAULTS, **{name: value for name, value in given.items() if value not in (None, "")}}
        start = str(given.get("from_checkpoint") or "").partition(":")[0]
        parent = next((job for job in self.jobs.values() if start and start in (job.id, job.output_name)), None)
        if start and parent is None:
            raise self.error(400, f"Checkpoint not found: {start}", param="from_checkpoint")
        name = parent.request["model"] if parent else settings.get("model")
        if parent and not given.get("training_type"):
            settings["training_type"] = parent.request["training_type"]  # inherited
        if name not in self.models:
            message = f"Model {name} is not available for fine-tuning"
            raise self.error(400, message, param="model", code="model_not_available")
        model, method, kind = self.models[name], settings["training_method"]["method"], settings["training_type"]
        allowed = emulated_model_limits(name, model)
        if not 1 <= settings["n_epochs"] <= allowed["max_num_epochs"]:
            raise self.error(400, f"n_epochs must be between 1 and {allowed['max_num_epochs']}", param="n_epochs")
        if kind["type"] == "Full" and not model.full:
            raise self.error(400, f"Full training is not supported for {name}", param="training_type")
        if kind["type"] == "Lora" and kind["lora_r"] > model.max_rank:
            raise self.error(400, f"lora_r must not exceed {model.max_rank}", param="training_type")
        ranges = (
            ("batch_size", 1, model.max_batch_dpo if method == "dpo" else model.max_batch),
            ("max_seq_length", allowed["min_max_seq_length"], allowed[f"max_seq_length_{method}"]),
        )
        for param, least, most in ranges:
            if isinstance(settings.get(param), int) and not least <= settings[param] <= most:
                raise self.error(400, f"{param} must be between {least} and {most}", param=param)
        if len(settings["suffix"] or "") > SUFFIX_LENGTH:
            raise self.error(400, f"suffix must be at most {SUFFIX_LENGTH} characters long", param="suffix")
        training = self._file(given.get("training_file"), "training_file")
        validation = self._file(given["validation_file"], "validation_file") if given.get("validation_file") else None
        for param, file in (("training_file", training), ("validation_file", validation)):
            if file and file.status(self.now()) != "COMPLETED":
                raise self.error(400, f"File {file.id} is not validated: {file.status(self.now())}", param=param)
            if file and not model.vision and any(map(emulated_images, file.rows)):
                message = f"File {file.id} contains images, which {name} does not support"
                raise self.error(400, message, param=param)
            if file and (file.format == "preference_openai") != (method == "dpo"):
                message = f"File {file.id} in format {file.format} does not fit the method {method}"
                raise self.error(400, message, param=param)
        if settings.get("early_stopping_enabled"):
            needed = settings.get("early_stopping_patience", 2) + settings.get("early_stopping_warmup_evals", 1) + 1
            if not validation or settings["n_evals"] < needed:
                message = f"Early stopping requires a validation file and n_evals >= {needed}"
                raise self.error(400, message, param="n_evals")
        output = f"emulated-org/{name.split('/')[-1]}" + (f"-{settings['suffix']}" if settings["suffix"] else "")
        settings = {key: value for key, value in settings.items() if value is not None}
        timeline = EmulatedTimeline(STATES, self.now(), self.pace)
        settings = {**settings, "model": name}
        return EmulatedTogetherJob("", settings, model, training, validation, output, EmulatedJobPlan(), timeline)

    @emulated_route("POST", "/fine-tunes", body=JSON)
    def create_job(self, request: EmulatedRequest) -> dict[str, Any]:
        job = self._draft(request.json())
        job.plan, job.id = self.take_plan(), f"ft-{self.new_id('', 8)}-{self.new_id('', 12)}"
        pace = self.pace if job.plan.pace is None else job.plan.pace
        job.timeline = EmulatedTimeline(STATES, self.now(), pace, job.plan.stuck)
        job.output_name += f"-{self.new_id('', 8)}"
        self.jobs[job.id] = job
        self.jobs_created += 1
        return job.job_document(self.now())

    def _job(self, id: str | None) -> EmulatedTogetherJob:
        if id not in self.jobs:
            raise self.error(404, f"Fine-tune job not found: {id}", code="not_found")
        return self.jobs[id]

    @emulated_route("GET", "/fine-tunes")
    def list_jobs(self, request: EmulatedRequest) -> dict[str, Any]:
        now = self.now()
        jobs = [job.job_document(now) for job in self.jobs.values() if now - job.timeline.created >= self.list_lag]
        return {"data": [*self.earlier, *jobs]}

    @emulated_route("GET", "/fine-tunes/{id}")
    def retrieve_job(self, request: EmulatedRequest, id: str) -> dict[str, Any]:
        return self._job(id).job_document(self.now(), whole=True)

    @emulated_route("DELETE", "/fine-tunes/{id}", query=("force",))
    def delete_job(self, request: EmulatedRequest, id: str) -> dict[str, Any]:
        """Delete the job and all that it made."""
        del self.jobs[self._job(id).id]
        return {"message": f"Fine-tune job {id} was deleted"}

    @emulated_route("POST", "/fine-tunes/{id}/cancel")
    def cancel_job(self, request: EmulatedRequest, id: str) -> dict[str, Any]:
        job = self._job(id)
        if job.has_ended(self.now()):
            raise self.error(400, f"Fine-tune job {id} cannot be cancelled: it is {job.status(self.now())}")
        job.cancelled_at = job.timeline.stopped_at = self.now()
        return job.job_document(self.now())

    @emulated_route("GET", "/fine-tunes/{id}/events")
    def list_events(self, request: EmulatedRequest, id: str) -> dict[str, Any]:
        return {"data": self._job(id).events(self.now())}

    @emulated_route("GET", "/fine-tunes/{id}/checkpoints")
    def list_checkpoints(self, request: EmulatedRequest, id: str) -> dict[str, Any]:
        return {"data": self._job(id).checkpoints(self.now())}

    @emulated_route("GET", "/fine-tunes/{id}/metrics", body=JSON, query=METRIC_FILTERS)
    def list_metrics(self, request: EmulatedRequest, id: str) -> dict[str, Any]:
        """List the metrics. Filters come in the query, as the SDK sends them, or in a body, as the specification has
        it."""
        given = {**request.json(), **request.query}
        lines = self._job(id).metrics(self.now())
        low, high = int(given.get("global_step_from", 0)), int(given.get("global_step_to", 1 << 62))
        lines = [line for line in lines if low <= line["train/global_step"] <= high]
        for name, sign in (("logged_at_from", 1), ("logged_at_to", -1)):
            if name in given:
                moment = datetime.fromisoformat(given[name]).timestamp() * 1e9
                lines = [line for line in lines if sign * (line["timestamp"] - moment) >= 0]
        if "resolution" in given:
            train = [line for line in lines if "train/loss" in line]
            kept = train[:: max(1, -(-len(train) // int(given["resolution"])))]
            lines = [line for line in lines if line in kept or "train/loss" not in line]
        return {"metrics": lines}

    # Chat

    # litellm adds only /chat/completions to the address it is given, which may be with or without /v1.
    @emulated_route("POST", "/chat/completions", prefix="", body=JSON)
    @emulated_route("POST", "/chat/completions", body=JSON)
    def complete(self, request: EmulatedRequest) -> dict[str, Any] | EmulatedResponse:
        given = request.json()
        model, messages = given.get("model", ""), given.get("messages", [])
        tuned = {job.output_name: job for job in self.jobs.values() if job.status(self.now()) == "completed"}
        if model in tuned and not self.serverless_tuned:
            message = f"Unable to access non-serverless model {model}. Please visit "
            message += f"https://api.together.ai/models/{model} to create and start a new dedicated endpoint "
            raise self.error(400, message + "for the model.", code="model_not_available")
        served = None if model in tuned else self.serving(model)
        if served is None and model not in tuned and model not in self.models:
            raise self.error(404, f"Unable to access model {model}.", param="model", code="model_not_found")
        job = served or tuned.get(model)
        said = inference.emulated_answer(job.training.rows if job else None, messages)
        calls = [{"index": index, **call} for index, call in enumerate(said.get("tool_calls", []))]
        said, reason = inference.limit_emulated_answer({**said, "tool_calls": calls}, given.get("max_tokens"))
        reason = "eos" if reason == "stop" else reason
        head = {"id": self.new_id("chat-"), "created": int(self.now()), "model": model}
        usage = inference.emulated_usage(messages, said)
        if not given.get("stream"):
            choice = {"index": 0, "message": said, "finish_reason": reason}
            return {**head, "object": "chat.completion", "prompt": [], "choices": [choice], "usage": usage}
        deltas = [(piece, None) for piece in inference.emulated_stream_deltas(said)] + [({"content": ""}, reason)]
        chunks = [
            {**head, "object": "chat.completion.chunk", "usage": usage if finish else None,
             "choices": [{"index": 0, "delta": {"role": "assistant", **delta}, "finish_reason": finish}]}
            for delta, finish in deltas
        ]  # fmt: skip
        return emulated_event_stream(chunks)
