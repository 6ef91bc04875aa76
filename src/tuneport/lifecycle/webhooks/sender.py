"""Tells those who wait for ends of jobs: what is due in the outbox, each attempt under a lease, until it is known."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Callable
from datetime import timedelta

from tuneport.lifecycle.schema.records import DeliveryRecord
from tuneport.lifecycle.store.store import Store
from tuneport.lifecycle.webhooks.endpoints import WebhookEndpoint, parse_webhook_endpoints, read_notification_targets
from tuneport.lifecycle.webhooks.notifying import refuse_unknown_notifier, send_apprise_message
from tuneport.lifecycle.webhooks.posting import WebhookDeliveryResult, post_webhook, webhook_event_body
from tuneport.lifecycle.worker.leases import has_lease_owner_ended, new_lease_owner
from tuneport.settings import Settings
from tuneport.types import now

WAITS = (5, 30, 120, 600, 1800, *(hours * 3600 for hours in (1, 2, 4, 8, 12, 12, 16, 16)))
"""Seconds before the next attempt. Together 71.7 hours: OpenAI gives up after 72."""
GIVEN_UP_DAYS = 3.0
AT_ONCE = 32
REGISTER_SECONDS = 3600.0
HOUSEKEEPING_SECONDS = 60.0

log = logging.getLogger(__name__)


class WebhookSender:
    """The sender of one gateway. `send_due` does what is due; one thread calls it again and again.

    Raises ConfigError if a webhook is configured wrongly. `rng` spreads the attempts of many deliveries. `on_attempt`
    is told of each attempt: whom it was for, and `delivered`, `retried` (it is sent again) or `dead`.
    """

    def __init__(
        self,
        store: Store,
        settings: Settings,
        *,
        rng: Callable[[], float] = random.random,
        on_attempt: Callable[[str, str], None] = lambda name, outcome: None,
    ) -> None:
        self._store, self._settings, self._rng, self._on_attempt = store, settings, rng, on_attempt
        self.webhooks, self.notified = parse_webhook_endpoints(settings), read_notification_targets(settings)
        for notified in self.notified.values():
            refuse_unknown_notifier(notified)
        self._registered = self._cleaned = float("-inf")

    def register(self) -> None:
        """Register in the store the endpoints to notify; ends before that are not announced."""
        wanted = {name: ("webhook", endpoint.events) for name, endpoint in self.webhooks.items()}
        wanted |= {name: ("notify", notified.events) for name, notified in self.notified.items()}
        if wanted:
            self._store.webhooks.register_endpoints(wanted)
        self._registered = time.monotonic()

    def send_due(self) -> int:
        """Make every attempt that is due now; return how many there were."""
        names = [*self.webhooks, *self.notified]
        moment = time.monotonic()
        if moment - self._registered > REGISTER_SECONDS:
            self.register()
        if moment - self._cleaned > HOUSEKEEPING_SECONDS:
            if gone := [owner for owner in self._store.webhooks.list_holders() if has_lease_owner_ended(owner)]:
                self._store.webhooks.release_dead_holders(gone)
            self._store.webhooks.give_up_deliveries(days=GIVEN_UP_DAYS)
            self._cleaned = moment
        if not names:
            return 0
        owner = new_lease_owner()
        rows = self._store.webhooks.claim_due_deliveries(owner, names, limit=AT_ONCE)
        if rows:
            asyncio.run(self._tell_all(rows, owner))
        return len(rows)

    async def _tell_all(self, rows: list[DeliveryRecord], owner: str) -> None:
        await asyncio.gather(*(self._tell(row, owner) for row in rows))

    async def _tell(self, row: DeliveryRecord, owner: str) -> None:
        try:
            outcome = await self._attempt(row)
        except Exception as error:  # of one delivery; the others go on
            log.exception("%s could not be sent", row.id)
            outcome = WebhookDeliveryResult(
                None, f"a bug in tuneport ({type(error).__name__}); its log has the traceback"
            )
        failed = None if outcome.delivered else outcome.error or f"answered {outcome.status}"
        if outcome.is_final:
            state, due = "delivered" if outcome.delivered else "dead", None
        elif (wait := self._wait_after(row, outcome)) is None:
            state, due = "dead", None
        else:
            state, due = "waiting", now() + timedelta(seconds=wait)
        if failed is not None:
            log.warning("%s (%s) of %s to %s: %s", row.id, row.type, row.job_id, row.endpoint, failed)
        self._store.webhooks.record_attempt(row.id, owner, state=state, status=outcome.status, error=failed, due_at=due)
        self._on_attempt(row.endpoint, "retried" if state == "waiting" else state)

    async def _attempt(self, row: DeliveryRecord) -> WebhookDeliveryResult:
        endpoint = self.webhooks.get(row.endpoint) or self.notified[row.endpoint]
        if isinstance(endpoint, WebhookEndpoint):
            return await post_webhook(
                endpoint, row.id, webhook_event_body(row.event_id, row.type, row.job_id, row.created_at)
            )
        return await send_apprise_message(self._store, endpoint, row)

    def _wait_after(self, row: DeliveryRecord, outcome: WebhookDeliveryResult) -> float | None:
        """Return seconds until the next attempt, or None if there is none."""
        if row.attempts >= len(WAITS):
            return None
        wait = WAITS[row.attempts] * (0.9 + 0.2 * self._rng())
        if outcome.retry_after is not None:
            wait = max(wait, outcome.retry_after)
        ends = row.began_at + timedelta(days=GIVEN_UP_DAYS)
        return wait if now() + timedelta(seconds=wait) < ends else None
