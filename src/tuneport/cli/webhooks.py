"""webhook: who is told when a job ends, and whether that worked."""

from __future__ import annotations

import asyncio
import secrets
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tuneport.cli import output
from tuneport.errors import ConfigError, UnavailableError

if TYPE_CHECKING:
    from tuneport.jobs.tables import DeliveryRow

webhook = typer.Typer(help="Signed webhooks, as OpenAI sends them.", no_args_is_help=True, rich_markup_mode="rich")
STATES = ("waiting", "delivered", "dead")


def register(app: typer.Typer) -> None:
    app.add_typer(webhook, name="webhook")


@webhook.command()
def secret(json_: output.Json = False) -> None:
    """Make a secret, for the gateway's environment and for the receiver's [bold]OPENAI_WEBHOOK_SECRET[/bold]."""
    from tuneport.jobs.webhooks.signing import new_secret

    made = new_secret()
    output.document({"secret": made}) if output.as_json else print(made)


@webhook.command("list")
def list_(json_: output.Json = False) -> None:
    """Who is told of the ends of jobs, as this folder and environment are configured."""
    from tuneport.jobs.webhooks.endpoints import notified_of, webhooks_of
    from tuneport.settings import Settings

    settings = Settings.load()
    rows = [
        {"name": row.name, "kind": "webhook", "to": row.host, "events": list(row.events), "private": row.allow_private}
        for row in webhooks_of(settings).values()
    ]
    rows += [
        {"name": row.name, "kind": "notify", "to": row.service, "events": list(row.events), "private": True}
        for row in notified_of(settings).values()
    ]
    if output.as_json:
        output.document({"object": "list", "data": rows})
        return
    if not rows:
        output.note("nobody is told: put [webhooks.NAME] into tuneport.toml, or set TUNEPORT_WEBHOOK_URL")
        return
    table = output.table("name", "kind", "to", "events", cut=("to",))
    for row in rows:
        table.add_row(row["name"], row["kind"], row["to"], " ".join(row["events"]))  # type: ignore[arg-type]
    output.console().print(table)


@webhook.command()
def test(
    name: Annotated[str, typer.Argument(help="Of [webhooks.NAME]; `environment` for TUNEPORT_WEBHOOK_URL.")],
    event: Annotated[str, typer.Option(help="succeeded, failed or cancelled.")] = "succeeded",
    json_: output.Json = False,
) -> None:
    """Send one signed event of a job that there is not, now and once."""
    from tuneport.jobs.webhooks.endpoints import ENDS, webhooks_of
    from tuneport.jobs.webhooks.outbox import TYPE
    from tuneport.jobs.webhooks.posting import event_body, post
    from tuneport.settings import Settings
    from tuneport.types import now

    if event not in ENDS:
        raise ConfigError(f"--event {event} is none; choose one of: {', '.join(ENDS)}")
    endpoints = webhooks_of(Settings.load())
    if name not in endpoints:
        raise ConfigError(f"no webhook {name!r}; configured are: {', '.join(endpoints) or 'none'}")
    sent = {"id": f"wh_{secrets.token_hex(16)}", "type": TYPE + event, "job": f"ftjob-test{secrets.token_hex(10)}"}
    body = event_body(f"evt_{secrets.token_hex(16)}", sent["type"], sent["job"], now())
    outcome = asyncio.run(post(endpoints[name], sent["id"], body))
    if not outcome.delivered:
        told = outcome.error or f"{endpoints[name].host} answered {outcome.status}"
        raise UnavailableError(
            f"the test event did not arrive: {told}; correct the receiver, or its address",
            provider=f"webhook {name}",
            http_status=outcome.status,
        )
    if output.as_json:
        output.document(sent | {"status": outcome.status, "endpoint": name})
    else:
        print(f"{endpoints[name].host} answered {outcome.status}: {sent['type']}, webhook-id {sent['id']}")


@webhook.command()
def deliveries(
    job: Annotated[str | None, typer.Option(help="Of this job only.")] = None,
    state: Annotated[str | None, typer.Option(help="waiting, delivered or dead.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=10_000)] = 50,
    json_: output.Json = False,
) -> None:
    """What was sent or is still to be, newest first; of webhooks and of notifications."""
    from tuneport.jobs.store import Store
    from tuneport.settings import Settings

    if state is not None and state not in STATES:
        raise ConfigError(f"--state {state} is none; choose one of: {', '.join(STATES)}")
    store = Store(Settings.load().database_url)
    try:
        rows = store.deliveries(limit=limit, job_id=job, state=state)
    finally:
        store.close()
    if output.as_json:
        output.document({"object": "list", "data": [_described(row) for row in rows]})
        return
    if not rows:
        output.note("no deliveries")
        return
    for row in rows:
        tries = f"{row.attempts} attempt{'s' if row.attempts != 1 else ''}"
        print(f"{row.id}  {row.state}, {tries}, {output.ago(row.created_at)}")
        print(f"  {row.type} of {row.job_id} to {row.endpoint}")
        if row.last_error is not None:
            print(f"  {row.last_error}")


@webhook.command()
def resend(
    deliveries: Annotated[list[str], typer.Argument(help="`tuneport webhook deliveries` lists their ids.")],
    json_: output.Json = False,
) -> None:
    """Have a delivery sent again by the gateway, with the same id."""
    from tuneport.jobs.store import Store
    from tuneport.settings import Settings

    store = Store(Settings.load().database_url)
    try:
        rows = [store.send_again(delivery) for delivery in deliveries]
    finally:
        store.close()
    if output.as_json:
        output.document({"object": "list", "data": [_described(row) for row in rows]})
    else:
        for row in rows:
            print(f"{row.id} is due; a gateway that has {row.endpoint} sends it")


def _described(row: DeliveryRow) -> dict[str, Any]:
    names = (
        "id", "endpoint", "kind", "event_id", "type", "job_id", "state", "attempts", "last_status", "last_error",
        "created_at", "due_at", "ended_at",
    )  # fmt: skip
    return {name: getattr(row, name) for name in names}
