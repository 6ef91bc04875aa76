"""OpenAI's wire format as far as a paid job needs it: files, jobs, events. Written from the published document."""

from __future__ import annotations

import time
from typing import Any

from tests.faults.money.account import Account, Job
from tests.faults.money.wire import Answer, Provider, Refused, Request

TOKEN = "tuneport_token"
CREATE_FIELDS = {
    "model", "training_file", "validation_file", "hyperparameters", "suffix", "integrations", "seed", "method",
    "metadata",
}  # fmt: skip


class OpenAIWire(Provider):
    prefix = "ftjob-"

    def is_create(self, request: Request) -> bool:
        return (request.method, request.path) == ("POST", "/v1/fine_tuning/jobs")

    def token_of(self, request: dict[str, Any]) -> str | None:
        return (request.get("metadata") or {}).get(TOKEN)

    def checked(self, account: Account, request: Request) -> dict[str, Any]:
        given = request.json()
        if unknown := set(given) - CREATE_FIELDS:
            raise Refused(400, f"Unknown parameter: '{min(unknown)}'.")
        if not isinstance(given.get("model"), str) or given.get("training_file") not in account.files:
            raise Refused(400, "invalid model or training_file")
        metadata = given.get("metadata") or {}
        if len(metadata) > 16 or any(len(key) > 64 or len(value) > 512 for key, value in metadata.items()):
            raise Refused(400, "Invalid 'metadata'.")
        return given

    def shown(self, account: Account, job: Job) -> dict[str, Any]:
        metadata = dict(job.request.get("metadata") or {})
        metadata.pop(TOKEN, None)
        mark = account.mark_of(job, job.token)
        if mark is not None:
            metadata[TOKEN] = mark
        if mark is None and job.token is not None:
            metadata = {}  # dropped as a whole
        over = account.over(job)
        status = "cancelled" if job.cancelled else "succeeded" if over else "running"
        hyperparameters = {"n_epochs": 3, "batch_size": 1, "learning_rate_multiplier": 1.8}
        return {
            "object": "fine_tuning.job", "id": job.id, "model": job.request["model"], "created_at": int(job.created_at),
            "finished_at": int(time.time()) if over else None, "organization_id": "org-bench", "result_files": [],
            "fine_tuned_model": f"ft:{job.request['model']}:bench::{job.id[-8:]}" if status == "succeeded" else None,
            "status": status, "training_file": job.request["training_file"],
            "validation_file": job.request.get("validation_file"), "hyperparameters": hyperparameters,
            "trained_tokens": 1200 if status == "succeeded" else None, "error": None, "seed": 7, "integrations": [],
            "user_provided_suffix": job.request.get("suffix"), "metadata": metadata or None,
            "estimated_finish": None,
            "method": {"type": "supervised", "supervised": {"hyperparameters": hyperparameters}},
        }  # fmt: skip

    def answer(self, account: Account, request: Request, address: str) -> Answer:
        match request.method, request.path.strip("/").split("/")[1:]:
            case "POST", ["files"]:
                return Answer(self._upload(account, request))
            case "GET", ["files"]:
                files = [file for file in account.files.values() if request.query.get("purpose") == file["purpose"]]
                return Answer({"object": "list", "data": files, "has_more": False})
            case "GET", ["files", file] if file in account.files:
                return Answer(account.files[file])
            case "GET", ["models"]:
                return Answer({"object": "list", "data": []})
            case "GET", ["fine_tuning", "jobs"]:
                return Answer(self._list(account, request))
            case method, ["fine_tuning", "jobs", job_id, *rest]:
                return Answer(self._job(account, method, job_id, rest))
            case _, ["files" | "models", *_]:
                raise Refused(404, f"No such object: {request.path}")
        raise Refused(405, f"{request.method} {request.path} is not known here")

    def _job(self, account: Account, method: str, job_id: str, rest: list[str]) -> dict[str, Any]:
        job = account.find(job_id)
        if job is None:
            raise Refused(404, f"Could not find fine tune: {job_id}")
        match method, rest:
            case "GET", []:
                pass
            case "POST", ["cancel"]:
                if account.over(job):
                    raise Refused(400, f"Job has already completed: {job_id}")
                job.cancelled = True
            case "GET", ["events" | "checkpoints"]:
                event = {"object": "fine_tuning.job.event", "id": f"ftevent-{job.id[6:]}", "level": "info",
                         "created_at": int(job.created_at), "message": "Created fine-tuning job", "type": "message",
                         "data": {}}  # fmt: skip
                return {"object": "list", "data": [event] if rest == ["events"] else [], "has_more": False}
            case _:
                raise Refused(405, f"{method} .../{'/'.join(rest)} is not known here")
        return self.shown(account, job)

    def _upload(self, account: Account, request: Request) -> dict[str, Any]:
        form = request.form()
        name, content = form["file"]
        file = {"id": account.new_id("file-"), "object": "file", "bytes": len(content), "filename": name,
                "created_at": int(time.time()), "purpose": form["purpose"][1].decode(),
                "status": "processed"}  # fmt: skip
        account.files[str(file["id"])] = file
        return file

    def _list(self, account: Account, request: Request) -> dict[str, Any]:
        wanted = {name[9:-1]: value for name, value in request.query.items() if name.startswith("metadata[")}
        shown = [self.shown(account, job) for job in account.listed()]
        if wanted and account.knobs.obeys_filter:
            shown = [job for job in shown if wanted.items() <= (job["metadata"] or {}).items()]
        after, ids = request.query.get("after"), [job["id"] for job in shown]
        if after in ids:
            shown = shown[len(ids) - ids[::-1].index(after) :]
        limit = min(int(request.query.get("limit", 20)), account.knobs.page_size)
        return {"object": "list", "data": shown[:limit], "has_more": len(shown) > limit}
