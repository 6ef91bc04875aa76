"""Audit log entries of chats: who asked which model, the tokens and the cost; never the texts."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from tuneport.backends import backend_manifest
from tuneport.estimate.cost.chat import chat_cost
from tuneport.lifecycle.schema.records import AuditRecord
from tuneport.lifecycle.schema.request_context import RequestContext
from tuneport.lifecycle.store.audit import build_audit_record
from tuneport.manifests.base_prices import load_base_price_manifest
from tuneport.types import now

if TYPE_CHECKING:
    from tuneport.lifecycle.store.store import Store
    from tuneport.serve.http.metrics import GatewayMetrics
    from tuneport.settings import Settings

log = logging.getLogger(__name__)

WRITE_SECONDS = 1.0
"""How long an entry waits to be written with others. A kill -9 loses that much."""
AT_ONCE = 500
MOST_WAITING = 100_000
"""Entries that are kept while the store does not answer. Beyond that, the oldest are dropped, and the log says so."""


@dataclass(frozen=True)
class AnsweredChat:
    """One chat. `model` is the requested name, `model_id` the backend's own."""

    at: datetime
    who: RequestContext
    backend: str
    model: str
    model_id: str
    usage: Mapping[str, Any]


class GatewayChatUsage:
    """The counter of chats. It counts at once and stores in the background, so that no answer waits for the store."""

    def __init__(self, store: Store, settings: Settings, metrics: GatewayMetrics) -> None:
        self._store, self._settings, self._metrics = store, settings, metrics
        self._waiting: deque[AnsweredChat] = deque(maxlen=MOST_WAITING)
        self._writing = threading.Lock()

    def add(self, who: RequestContext, backend: str, model: str, model_id: str, usage: Mapping[str, Any]) -> None:
        """Record a chat; safe in any thread. `usage` is in OpenAI's format, empty if the backend did not report it."""
        self._metrics.count_chat(backend, _count(usage, "prompt_tokens"), _count(usage, "completion_tokens"))
        if len(self._waiting) == MOST_WAITING:
            log.error("the store does not take the audit log's entries: the oldest chat's is dropped")
        self._waiting.append(AnsweredChat(now(), who, backend, model, model_id, usage))

    def write(self) -> None:
        """Write all waiting entries. Raises StoreUnavailableError if the store does not answer; the entries then
        stay queued."""
        with self._writing:
            while self._waiting:
                batch = [self._waiting[place] for place in range(min(AT_ONCE, len(self._waiting)))]
                self._store.audit.add([self._entry(answered) for answered in batch])
                for _ in batch:
                    self._waiting.popleft()

    def _entry(self, answered: AnsweredChat) -> AuditRecord:
        try:
            manifest = backend_manifest(answered.backend, self._settings)
            usd = chat_cost(manifest, answered.model_id, answered.usage, load_base_price_manifest())
        except Exception:  # one chat that cannot be priced keeps no other out of the log
            log.exception("what a chat with %r at %s cost is not known", answered.model, answered.backend)
            usd = None
        return build_audit_record(
            answered.who,
            "chat.answer",
            f"{answered.model} at {answered.backend}",
            at=answered.at,
            prompt_tokens=_count(answered.usage, "prompt_tokens"),
            completion_tokens=_count(answered.usage, "completion_tokens"),
            usd=usd,
        )


def _count(usage: Mapping[str, Any], name: str) -> int | None:
    """Return a token count. Returns None if the provider sent something else."""
    value = usage.get(name)
    return value if isinstance(value, int) and 0 <= value < 2**31 else None
