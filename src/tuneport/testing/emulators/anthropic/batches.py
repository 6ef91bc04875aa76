"""The batches half of the Anthropic emulator, and cursor pages.

A batch is in progress for `pace` seconds; its results come in another order than its requests. `outcomes` decides what
becomes of requests of the next batch, by their place: `expired`, `canceled` or the type of an error.
"""

from __future__ import annotations

import json
import re
from abc import abstractmethod
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from tuneport.testing.emulators.anthropic.messages import EmulatedMessageRefusal, refuse_emulated_message
from tuneport.testing.emulators.server import JSON, Emulator, emulated_route
from tuneport.testing.emulators.wire import EmulatedRequest, EmulatedResponse

LIFETIME = 86_400.0
_CUSTOM_ID = re.compile(r"[a-zA-Z0-9_-]{1,64}")


@dataclass
class EmulatedBatch:
    id: str
    requests: list[dict[str, Any]]
    outcomes: dict[int, str]
    created: float
    canceled_at: float | None = None
    results: list[dict[str, Any]] = field(default_factory=list)


class EmulatedMessageBatches(Emulator):
    def __init__(self, **options: Any):
        super().__init__(**options)
        self.models: dict[str, dict[str, Any]] = {}
        self.batches: dict[str, EmulatedBatch] = {}
        self.outcomes: dict[int, str] = {}

    @abstractmethod
    def message(self, given: dict[str, Any], tier: str = "standard") -> dict[str, Any]:
        """Return the message that answers a request which is not refused."""

    @abstractmethod
    def envelope(self, type: str, message: str) -> dict[str, Any]:
        """Return the body of an error."""

    @emulated_route("POST", "/messages/batches", body=JSON)
    def create_batch(self, request: EmulatedRequest) -> dict[str, Any]:
        rows = request.json().get("requests") or []
        names = [row.get("custom_id") for row in rows]
        if not rows or len(set(names)) < len(names) or not all(_CUSTOM_ID.fullmatch(str(name)) for name in names):
            raise self.error(400, "requests: custom_id must be unique, of letters, digits, _ and -, 1 to 64 of them")
        batch = EmulatedBatch(self.new_id("msgbatch_"), rows, self.outcomes, self.now())
        self.outcomes = {}
        self.batches[batch.id] = batch
        self.jobs_created += 1
        return self._shown(batch)

    def _batch(self, id: str) -> EmulatedBatch:
        if id not in self.batches:
            raise self.error(404, f"message_batch_id: {id}")
        return self.batches[id]

    def _ended_at(self, batch: EmulatedBatch) -> float | None:
        end = batch.created + self.pace if batch.canceled_at is None else batch.canceled_at
        return end if self.now() >= end else None

    def _shown(self, batch: EmulatedBatch) -> dict[str, Any]:
        ended = self._ended_at(batch)
        if ended is not None and not batch.results:
            batch.results = [self._result(batch, place) for place in range(len(batch.requests))]
        counts = dict.fromkeys(("processing", "succeeded", "errored", "canceled", "expired"), 0)
        for result in batch.results:
            counts[result["result"]["type"]] += 1
        counts["processing"] = len(batch.requests) - len(batch.results)
        return {
            "id": batch.id, "type": "message_batch", "processing_status": "in_progress" if ended is None else "ended",
            "request_counts": counts, "created_at": _moment(batch.created),
            "expires_at": _moment(batch.created + LIFETIME), "ended_at": None if ended is None else _moment(ended),
            "cancel_initiated_at": None if batch.canceled_at is None else _moment(batch.canceled_at),
            "archived_at": None,
            "results_url": None if ended is None else f"{self.origin}/v1/messages/batches/{batch.id}/results",
        }  # fmt: skip

    def _result(self, batch: EmulatedBatch, place: int) -> dict[str, Any]:
        row = batch.requests[place]
        outcome = "canceled" if batch.canceled_at is not None else batch.outcomes.get(place)
        result: dict[str, Any] = {"type": outcome}
        if outcome is None and row["params"].get("model") not in self.models:
            result = {
                "type": "errored",
                "error": self.envelope("not_found_error", f"model: {row['params'].get('model')}"),
            }
        elif outcome is None:
            try:
                refuse_emulated_message(row["params"], self.models)
                result = {"type": "succeeded", "message": self.message(row["params"], "batch")}
            except EmulatedMessageRefusal as error:
                result = {"type": "errored", "error": self.envelope("invalid_request_error", str(error))}
        elif outcome not in ("expired", "canceled"):
            result = {"type": "errored", "error": self.envelope(outcome, f"Emulated {outcome}")}
        return {"custom_id": row["custom_id"], "result": result}

    @emulated_route("GET", "/messages/batches", query=("after_id", "before_id", "limit"))
    def list_batches(self, request: EmulatedRequest) -> dict[str, Any]:
        seen = [batch for batch in self.batches.values() if self.now() - batch.created >= self.list_lag]
        return emulated_page(request, [self._shown(batch) for batch in reversed(seen)])

    @emulated_route("GET", "/messages/batches/{id}")
    def retrieve_batch(self, request: EmulatedRequest, id: str) -> dict[str, Any]:
        return self._shown(self._batch(id))

    @emulated_route("POST", "/messages/batches/{id}/cancel")
    def cancel_batch(self, request: EmulatedRequest, id: str) -> dict[str, Any]:
        batch = self._batch(id)
        if self._ended_at(batch) is None:
            batch.canceled_at = self.now()
        return self._shown(batch)

    @emulated_route("GET", "/messages/batches/{id}/results")
    def batch_results(self, request: EmulatedRequest, id: str) -> EmulatedResponse:
        batch = self._batch(id)
        if self._shown(batch)["results_url"] is None:
            raise self.error(404, f"message_batch_id: {id} has no results yet")
        lines = "".join(json.dumps(result) + "\n" for result in reversed(batch.results))
        return EmulatedResponse(lines.encode(), headers={"content-type": "application/x-jsonl"})


def emulated_page(request: EmulatedRequest, rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the page that the cursor `after_id` and the `limit` (20) ask for."""
    after = request.query.get("after_id")
    start = 1 + next((place for place, row in enumerate(rows) if row["id"] == after), -1)
    page = rows[start : start + int(request.query.get("limit", 20))]
    ids = [row["id"] for row in page] or [None]
    more = start + len(page) < len(rows)
    return {"data": page, "has_more": more, "first_id": ids[0], "last_id": ids[-1]}


def _moment(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat().replace("+00:00", "Z")
