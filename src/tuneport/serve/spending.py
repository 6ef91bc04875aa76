"""The audit log's entries of chats: who asked which model, for how many tokens and what money; never what was said."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from tuneport.backends import manifest_of
from tuneport.estimate.cost.chat import chat_cost
from tuneport.jobs.asking import Asking
from tuneport.jobs.audit import entry_of
from tuneport.jobs.tables import AuditRow
from tuneport.manifests.base_prices import load_base_prices
from tuneport.types import now

if TYPE_CHECKING:
    from tuneport.jobs.store import Store
    from tuneport.serve.observing import Figures
    from tuneport.settings import Settings

log = logging.getLogger(__name__)

WRITE_SECONDS = 1.0
"""How long an entry may wait for the others with which it is written: what a kill -9 loses."""
AT_ONCE = 500
MOST_WAITING = 100_000
"""Entries that are kept for a store that does not answer. Of more, the oldest are dropped, and the log says so."""


@dataclass(frozen=True)
class Answered:
    """One chat. `model` as it was asked for; `model_id` is the backend's own name."""

    at: datetime
    who: Asking
    backend: str
    model: str
    model_id: str
    usage: Mapping[str, Any]


class Spending:
    """Chats are counted and put down at once, and written behind the answers, which wait for no store."""

    def __init__(self, store: Store, settings: Settings, figures: Figures) -> None:
        self._store, self._settings, self._figures = store, settings, figures
        self._waiting: deque[Answered] = deque(maxlen=MOST_WAITING)
        self._writing = threading.Lock()

    def add(self, who: Asking, backend: str, model: str, model_id: str, usage: Mapping[str, Any]) -> None:
        """From any thread: `usage` in OpenAI's words, empty where the backend has not told it."""
        self._figures.chat(backend, _count(usage, "prompt_tokens"), _count(usage, "completion_tokens"))
        if len(self._waiting) == MOST_WAITING:
            log.error("the store does not take the audit log's entries: the oldest chat's is dropped")
        self._waiting.append(Answered(now(), who, backend, model, model_id, usage))

    def write(self) -> None:
        """All that wait. StoreUnavailableError, and they wait on, where the store does not answer."""
        with self._writing:
            while self._waiting:
                batch = [self._waiting[place] for place in range(min(AT_ONCE, len(self._waiting)))]
                self._store.add_entries([self._entry(answered) for answered in batch])
                for _ in batch:
                    self._waiting.popleft()

    def _entry(self, answered: Answered) -> AuditRow:
        try:
            manifest = manifest_of(answered.backend, self._settings)
            usd = chat_cost(manifest, answered.model_id, answered.usage, load_base_prices())
        except Exception:  # one chat that cannot be priced keeps no other out of the log
            log.exception("what a chat with %r at %s cost is not known", answered.model, answered.backend)
            usd = None
        return entry_of(
            answered.who,
            "chat.answer",
            f"{answered.model} at {answered.backend}",
            at=answered.at,
            prompt_tokens=_count(answered.usage, "prompt_tokens"),
            completion_tokens=_count(answered.usage, "completion_tokens"),
            usd=usd,
        )


def _count(usage: Mapping[str, Any], name: str) -> int | None:
    """What a provider says may be anything."""
    value = usage.get(name)
    return value if isinstance(value, int) and 0 <= value < 2**31 else None
