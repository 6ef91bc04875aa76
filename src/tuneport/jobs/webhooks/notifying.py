"""What people are told when a job ends, by e-mail, Slack and whatever else the `apprise` library reaches."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass

from tuneport.errors import ConfigError, one_line
from tuneport.jobs.store import Store
from tuneport.jobs.tables import DeliveryRow, JobRequestRow, JobRow
from tuneport.jobs.webhooks.endpoints import Notified
from tuneport.jobs.webhooks.outbox import TYPE
from tuneport.jobs.webhooks.posting import Outcome

ALTOGETHER_SECONDS = 45.0
LONGEST_REASON = 500


@dataclass(frozen=True)
class Message:
    title: str
    body: str


def message_of(end: str, job_id: str, row: JobRow | None, request: JobRequestRow | None) -> Message:
    """`row` None: it was refused or cancelled before it was a job."""
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
    return Message(f"tuneport: {job_id} {end}", "\n".join([*lines, f"Next: {then}"]))


def _cost(row: JobRow) -> str:
    actual = row.job_actual
    if actual is not None and actual.usd is not None:
        return f"${actual.usd:,.2f} ({actual.usd_because})" if actual.usd_because else f"${actual.usd:,.2f}"
    return f"unavailable, because {(actual and actual.usd_unavailable) or 'the backend has not said it'}"


def _duration(row: JobRow) -> str:
    actual = row.job_actual
    if actual is not None and actual.seconds is not None:
        trained = f"{_minutes(actual.seconds)} of training"
        return trained if row.finished_at is None else f"{trained}, {_since_asked(row)}"
    return _since_asked(row)


def _since_asked(row: JobRow) -> str:
    assert row.finished_at is not None  # it has ended
    return f"{_minutes((row.finished_at - row.created_at).total_seconds())} since it was asked for"


def _minutes(seconds: float) -> str:
    minutes, rest = divmod(max(0, round(seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min {rest:02} s" if minutes else f"{rest} s"


def require_apprise() -> None:
    """ConfigError, in one line, where the library is not installed."""
    try:
        import apprise  # noqa: F401
    except ImportError as error:
        raise ConfigError('TUNEPORT_NOTIFY needs the apprise package: pip install "tuneport[serve]"') from error
    # Below these they write down addresses, which hold tokens and passwords.
    logging.getLogger("apprise").setLevel(logging.WARNING)
    logging.getLogger("urllib3").setLevel(logging.INFO)


def refuse_unknown(notified: Notified) -> None:
    """ConfigError where the library knows no such service, or the address lacks something."""
    require_apprise()
    import apprise

    if apprise.Apprise.instantiate(notified.url.get_secret_value()) is None:
        raise ConfigError(
            f"address {notified.name.rpartition('-')[2]} in TUNEPORT_NOTIFY is none that apprise takes; "
            "write one such as mailto://USER:PASSWORD@HOST or slack://TOKENS, with spaces between several"
        )


async def notify(notified: Notified, message: Message) -> Outcome:
    """Never raises for what the service does."""

    def tell() -> bool:
        import apprise

        told = apprise.Apprise()
        told.add(notified.url.get_secret_value())
        return bool(told.notify(title=message.title, body=message.body, body_format=apprise.NotifyFormat.TEXT))

    try:
        taken = await asyncio.wait_for(asyncio.to_thread(tell), ALTOGETHER_SECONDS)
    except TimeoutError:
        return Outcome(None, f"{notified.service} did not answer within {ALTOGETHER_SECONDS:.0f} s")
    if not taken:  # apprise tells why in its log only
        return Outcome(None, f"{notified.service} did not take it; the gateway's log says why, under `apprise`")
    return Outcome(200)


async def tell(store: Store, notified: Notified, row: DeliveryRow) -> Outcome:
    job = store.jobs_by_id([row.job_id]).get(row.job_id)
    request = store.job_request(row.job_id)
    return await notify(notified, message_of(row.type.removeprefix(TYPE), row.job_id, job, request))
