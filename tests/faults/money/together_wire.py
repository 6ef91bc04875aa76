"""Together's wire format as far as a paid job needs it: the upload in three steps, limits, price, jobs, events."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Any

from tests.faults.money.account import Account, Job
from tests.faults.money.wire import Answer, Provider, Refused, Request

BATCH = {"max_batch_size": 8, "max_batch_size_dpo": 4, "min_batch_size": 1}
LIMITS = {
    "max_num_epochs": 20, "max_num_evals": 100, "max_num_checkpoints": 100, "max_learning_rate": 0.1,
    "min_learning_rate": 1e-8, "max_seq_length_sft": 65536, "max_seq_length_dpo": 32768, "min_max_seq_length": 1024,
    "default_gradient_accumulation_steps": 1, "merge_output_lora": True, "supports_vision": False,
    "supports_tools": True, "supports_reasoning": False, "supports_full_training": True, "full_training": BATCH,
    "lora_training": {**BATCH, "max_rank": 64, "default_rank": 16, "target_modules": ["q_proj", "v_proj"]},
}  # fmt: skip
UPLOAD_FIELDS = ("purpose", "file_name", "file_type", "checksum")


def moment(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


class TogetherWire(Provider):
    prefix = "ft-"

    def is_create(self, request: Request) -> bool:
        return (request.method, request.path) == ("POST", "/v1/fine-tunes")

    def token_of(self, request: dict[str, Any]) -> str | None:
        return request.get("suffix")

    def checked(self, account: Account, request: Request) -> dict[str, Any]:
        given = request.json()
        file = account.files.get(str(given.get("training_file")))
        if not isinstance(given.get("model"), str) or file is None or file["processing_status"] != "COMPLETED":
            raise Refused(400, "invalid model or training_file")
        if len(given.get("suffix") or "") > 40:
            raise Refused(400, "suffix must be at most 40 characters long")
        return given

    def shown(self, account: Account, job: Job) -> dict[str, Any]:
        suffix = account.mark_of(job, job.token)
        over = account.over(job)
        output = "-".join(filter(None, ("bench/" + job.request["model"].split("/")[-1], suffix, job.id[-8:])))
        return {
            **{name: value for name, value in job.request.items() if name not in ("wandb_key", "suffix")},
            "id": job.id, "suffix": suffix, "model_output_name": output, "events": [], "user_id": "user-bench",
            "status": "cancelled" if job.cancelled else "completed" if over else "running",
            "created_at": moment(job.created_at), "updated_at": moment(time.time()), "batch_size": 8,
            "token_count": 1200, "total_price": 4_000_000_000 if over and not job.cancelled else 0,
            "progress": {"estimate_available": False, "seconds_remaining": 0},
        }  # fmt: skip

    def answer(self, account: Account, request: Request, address: str) -> Answer:
        match request.method, request.path.strip("/").split("/"):
            case "POST", ["v1", "files"]:
                return self._begin_upload(account, request, address)
            case "PUT", ["_storage", file] if file in account.files:
                account.files[file] |= {"bytes": len(request.body), "processing_status": "PENDING"}
                return Answer()
            case method, ["v1", "files", *rest]:
                return Answer(self._files(account, method, rest))
            case "GET", ["v1", "fine-tunes", "models", "limits"]:
                return Answer({"model_name": request.query.get("model_name"), **LIMITS})
            case "GET", ["v1", "fine-tunes", "models", "supported"]:
                return Answer({"models": [request.query.get("model_name", "Qwen/Qwen3.5-4B")]})
            case "POST", ["v1", "fine-tunes", "estimate-price"]:
                return Answer({"estimation_available": True, "estimated_total_price": 4.0, "user_limit": 100.0,
                               "estimated_train_token_count": 1200, "estimated_eval_token_count": 0,
                               "allowed_to_proceed": True})  # fmt: skip
            case "GET", ["v1", "fine-tunes"]:
                return Answer({"data": [self.shown(account, job) for job in account.listed()]})
            case method, ["v1", "fine-tunes", job_id, *rest]:
                return Answer(self._job(account, method, job_id, rest))
        raise Refused(405, f"{request.method} {request.path} is not known here")

    def _begin_upload(self, account: Account, request: Request, address: str) -> Answer:
        form = {name: content.decode() for name, (_, content) in request.form().items()}
        if missing := [name for name in UPLOAD_FIELDS if name not in form]:
            raise Refused(400, f"{missing[0]} is required")
        file_id = account.new_id("file-")
        account.files[file_id] = {
            "id": file_id, "object": "file", "created_at": int(time.time()), "filename": form["file_name"], "bytes": 0,
            "purpose": form["purpose"], "FileType": form["file_type"], "Processed": False,
            "processing_status": "PENDING",
        }  # fmt: skip
        location = f"{address}/_storage/{file_id}"
        return Answer(status=302, headers={"location": location, "x-together-file-id": file_id})

    def _files(self, account: Account, method: str, rest: list[str]) -> dict[str, Any]:
        if not rest:
            return {"data": list(account.files.values())}
        if rest[0] not in account.files:
            raise Refused(404, f"File not found: {rest[0]}")
        file = account.files[rest[0]]
        if (method, rest[1:]) == ("POST", ["preprocess"]):
            file |= {"processing_status": "COMPLETED", "Processed": True}
        elif method != "GET" or rest[1:]:
            raise Refused(405, f"{method} .../{'/'.join(rest[1:])} is not known here")
        return file

    def _job(self, account: Account, method: str, job_id: str, rest: list[str]) -> dict[str, Any]:
        job = account.find(job_id)
        if job is None:
            raise Refused(404, f"Fine-tune job not found: {job_id}")
        match method, rest:
            case "GET", []:
                return self.shown(account, job)
            case "POST", ["cancel"]:
                if account.over(job):
                    raise Refused(400, f"Fine-tune job {job_id} cannot be cancelled")
                job.cancelled = True
                return self.shown(account, job)
            case "GET", ["events" | "checkpoints"]:
                return {"data": []}
            case "GET", ["metrics"]:
                return {"metrics": []}
        raise Refused(405, f"{method} .../{'/'.join(rest)} is not known here")
