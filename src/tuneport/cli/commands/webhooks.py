"""The command webhook: notifications of ended jobs, and whether they arrived."""

from __future__ import annotations

import asyncio
import secrets
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tuneport.cli.opened_store import open_command_store
from tuneport.cli.views import output
from tuneport.cli.views.table import Column, CommandTable
from tuneport.errors import ConfigError, UnavailableError

if TYPE_CHECKING:
    from tuneport.lifecycle.schema.records import DeliveryRecord

webhook_group = typer.Typer(
    help="Set up, test and resend signed webhooks.", no_args_is_help=True, rich_markup_mode="rich"
)
STATES = ("waiting", "delivered", "dead")


@webhook_group.command("secret")
def webhook_secret_command(json_: output.Json = False) -> None:
    """Make a secret, for the gateway's environment and for the receiver's [bold]OPENAI_WEBHOOK_SECRET[/bold]."""
    from tuneport.lifecycle.webhooks.signing import new_webhook_secret

    made = new_webhook_secret()
    output.print_json_document({"secret": made}) if output.as_json else output.print_line(made)


@webhook_group.command("list")
def webhook_list_command(wide: output.Wide = False, tsv: output.Tsv = False, json_: output.Json = False) -> None:
    """List the webhooks that this folder and environment configure."""
    from tuneport.lifecycle.webhooks.endpoints import parse_webhook_endpoints, read_notification_targets
    from tuneport.settings import Settings

    settings = Settings.load()
    rows = [
        {"name": row.name, "kind": "webhook", "to": row.host, "events": list(row.events), "private": row.allow_private}
        for row in parse_webhook_endpoints(settings).values()
    ]
    rows += [
        {"name": row.name, "kind": "notify", "to": row.service, "events": list(row.events), "private": True}
        for row in read_notification_targets(settings).values()
    ]
    if output.print_if_json({"object": "list", "data": rows}):
        return
    if not rows:
        output.print_note(
            "no webhooks are configured: put [webhooks.NAME] into tuneport.toml, or set TUNEPORT_WEBHOOK_URL"
        )
        return
    table = CommandTable((Column("name"), Column("kind"), Column("to", wrap=True), Column("events", wrap=True)))
    for row in rows:
        table.add_row(row["name"], row["kind"], row["to"], " ".join(row["events"]))  # type: ignore[arg-type]
    table.print()


@webhook_group.command("test")
def webhook_test_command(
    name: Annotated[
        str, typer.Argument(help="The NAME of [webhooks.NAME], or `environment` for TUNEPORT_WEBHOOK_URL.")
    ],
    event: Annotated[str, typer.Option(help="succeeded, failed or cancelled.")] = "succeeded",
    json_: output.Json = False,
) -> None:
    """Send one signed test event of an invented job, once."""
    from tuneport.lifecycle.store.outbox import TYPE
    from tuneport.lifecycle.webhooks.endpoints import ENDS, parse_webhook_endpoints
    from tuneport.lifecycle.webhooks.posting import post_webhook, webhook_event_body
    from tuneport.settings import Settings
    from tuneport.types import now

    if event not in ENDS:
        raise ConfigError(f"--event {event} is unknown; choose one of: {', '.join(ENDS)}")
    endpoints = parse_webhook_endpoints(Settings.load())
    if name not in endpoints:
        raise ConfigError(f"no webhook {name!r}; configured are: {', '.join(endpoints) or 'none'}")
    sent = {"id": f"wh_{secrets.token_hex(16)}", "type": TYPE + event, "job": f"ftjob-test{secrets.token_hex(10)}"}
    body = webhook_event_body(f"evt_{secrets.token_hex(16)}", sent["type"], sent["job"], now())
    outcome = asyncio.run(post_webhook(endpoints[name], sent["id"], body))
    if not outcome.delivered:
        told = outcome.error or f"{endpoints[name].host} answered {outcome.status}"
        raise UnavailableError(
            f"the test event did not arrive: {told}; correct the receiver, or its address",
            provider=f"webhook {name}",
            http_status=outcome.status,
        )
    if not output.print_if_json(sent | {"status": outcome.status, "endpoint": name}):
        output.print_line(f"{endpoints[name].host} answered {outcome.status}: {sent['type']}, webhook-id {sent['id']}")


@webhook_group.command("deliveries")
def webhook_deliveries_command(
    job: Annotated[str | None, typer.Option(help="Only deliveries of this job.")] = None,
    state: Annotated[str | None, typer.Option(help="waiting, delivered or dead.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=10_000)] = 50,
    json_: output.Json = False,
) -> None:
    """List deliveries of webhooks and notifications, sent and waiting, newest first."""

    if state is not None and state not in STATES:
        raise ConfigError(f"--state {state} is unknown; choose one of: {', '.join(STATES)}")
    with open_command_store() as store:
        rows = store.webhooks.list_deliveries(limit=limit, job_id=job, state=state)
    if output.print_if_json({"object": "list", "data": [_described(row) for row in rows]}):
        return
    if not rows:
        output.print_note("no deliveries")
        return
    for row in rows:
        tries = output.counted(row.attempts, "attempt")
        output.print_line(f"{row.id}  {row.state}, {tries}, {output.ago(row.created_at)}")
        output.print_line(f"  {row.type} of {row.job_id} to {row.endpoint}")
        if row.last_error is not None:
            output.print_line(f"  {row.last_error}")


@webhook_group.command("resend")
def webhook_resend_command(
    deliveries: Annotated[list[str], typer.Argument(help="`tuneport webhook deliveries` lists their ids.")],
    json_: output.Json = False,
) -> None:
    """Let the gateway send a delivery again, with the same id."""
    with open_command_store() as store:
        rows = [store.webhooks.send_again(delivery) for delivery in deliveries]
    if not output.print_if_json({"object": "list", "data": [_described(row) for row in rows]}):
        for row in rows:
            output.print_line(f"{row.id} is due; a gateway that has {row.endpoint} sends it")


def _described(row: DeliveryRecord) -> dict[str, Any]:
    names = (
        "id", "endpoint", "kind", "event_id", "type", "job_id", "state", "attempts", "last_status", "last_error",
        "created_at", "due_at", "ended_at",
    )  # fmt: skip
    return {name: getattr(row, name) for name in names}
