"""Notifications for people when a job ends, by e-mail, Slack and whatever else the `apprise` library reaches."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass

from tuneport.errors import ConfigError, one_line
from tuneport.formatting import duration, money
from tuneport.installation import install_extra
from tuneport.lifecycle.schema.records import DeliveryRecord, JobRecord, RequestRecord
from tuneport.lifecycle.store.outbox import TYPE
from tuneport.lifecycle.store.store import Store
from tuneport.lifecycle.webhooks.endpoints import WebhookNotificationTarget
from tuneport.lifecycle.webhooks.posting import WebhookDeliveryResult

ALTOGETHER_SECONDS = 45.0
LONGEST_REASON = 500


@dataclass(frozen=True)
class JobEndNotification:
    title: str
    body: str


def build_job_notification(
    end: str, job_id: str, row: JobRecord | None, request: RequestRecord | None
) -> JobEndNotification:
    """Return the message about a job's end. `row` None: it was refused or cancelled before it was a job."""
    model = str(request.body["model"]) if request is not None else row.model if row is not None else "unknown"
    lines = [f"Job: {job_id}", f"Model: {model}"]
    error = (request.error if row is None and request is not None else None) if row is None else row.error
    if row is not None:
        lines.append(f"Backend: {row.backend}")
    lines.append(f"End: {end}")
    if error:
        reason = one_line(str(error.get("message") or "the backend gives no reason"))
        lines.append(f"Reason: {reason[:LONGEST_REASON]}")
    if row is not None:
        lines += [f"Cost: {_cost(row)}", f"Duration: {_duration(row)}"]
        if end == "succeeded" and row.tuned_model is not None:
            lines.append(f"Tuned model: {row.tuned_model if request is None else request.tuned_model}")
    if row is None:
        then = "correct the request and send it again"
    elif end == "succeeded":
        then = f'tuneport eval {job_id} --data FILE; tuneport chat {job_id} "QUESTION"'
    else:
        then = f"tuneport logs {job_id}"
    return JobEndNotification(f"tuneport: {job_id} {end}", "\n".join([*lines, f"Next: {then}"]))


def _cost(row: JobRecord) -> str:
    actual = row.job_actual
    if actual is not None and actual.usd is not None:
        return f"{money(actual.usd)} ({actual.usd_because})" if actual.usd_because else money(actual.usd)
    return f"unavailable, because {(actual and actual.usd_unavailable) or 'the backend has not reported it'}"


def _duration(row: JobRecord) -> str:
    actual = row.job_actual
    if actual is not None and actual.seconds is not None:
        trained = f"{duration(actual.seconds)} of training"
        return trained if row.finished_at is None else f"{trained}, {_since_asked(row)}"
    return _since_asked(row)


def _since_asked(row: JobRecord) -> str:
    assert row.finished_at is not None  # it has ended
    return f"{duration((row.finished_at - row.created_at).total_seconds())} since it was asked for"


def require_apprise() -> None:
    """Raise ConfigError, in one line, if the library is not installed."""
    try:
        import apprise  # noqa: F401
    except ImportError as error:
        raise ConfigError(f"TUNEPORT_NOTIFY needs the apprise package: {install_extra('serve')}") from error
    # Below these they write down addresses, which hold tokens and passwords.
    logging.getLogger("apprise").setLevel(logging.WARNING)
    logging.getLogger("urllib3").setLevel(logging.INFO)


def refuse_unknown_notifier(notified: WebhookNotificationTarget) -> None:
    """Raise ConfigError if the library knows no such service, or the address lacks something."""
    require_apprise()
    import apprise

    if apprise.Apprise.instantiate(notified.url.get_secret_value()) is None:
        raise ConfigError(
            f"address {notified.name.rpartition('-')[2]} in TUNEPORT_NOTIFY is not one that apprise supports; "
            "write one such as mailto://USER:PASSWORD@HOST or slack://TOKENS, with spaces between several"
        )


async def send_job_notification(
    notified: WebhookNotificationTarget, message: JobEndNotification
) -> WebhookDeliveryResult:
    """Send the message. It never raises for what the service does."""

    def tell() -> bool:
        import apprise

        told = apprise.Apprise()
        told.add(notified.url.get_secret_value())
        return bool(told.notify(title=message.title, body=message.body, body_format=apprise.NotifyFormat.TEXT))

    try:
        taken = await asyncio.wait_for(asyncio.to_thread(tell), ALTOGETHER_SECONDS)
    except TimeoutError:
        return WebhookDeliveryResult(None, f"{notified.service} did not answer within {ALTOGETHER_SECONDS:.0f} s")
    if not taken:  # apprise tells why in its log only
        return WebhookDeliveryResult(
            None, f"{notified.service} did not take it; the gateway's log says why, under `apprise`"
        )
    return WebhookDeliveryResult(200)


async def send_apprise_message(
    store: Store, notified: WebhookNotificationTarget, row: DeliveryRecord
) -> WebhookDeliveryResult:
    job = store.jobs.by_ids([row.job_id]).get(row.job_id)
    request = store.requests.get(row.job_id)
    return await send_job_notification(
        notified, build_job_notification(row.type.removeprefix(TYPE), row.job_id, job, request)
    )
