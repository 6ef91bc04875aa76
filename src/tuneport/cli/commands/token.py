"""The commands token create, list and revoke, and audit: who may use the gateway, and who did what."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tuneport.cli.opened_store import open_command_store
from tuneport.cli.views import output
from tuneport.cli.views.table import Column, CommandTable
from tuneport.errors import ConfigError

if TYPE_CHECKING:
    from tuneport.lifecycle.schema.records import TokenRecord

token_group = typer.Typer(
    no_args_is_help=True, help="Create, list and revoke tokens of the gateway (`tuneport serve`)."
)


@token_group.command("create")
def token_create_command(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A label for this token.", show_default=False)],
    scope: Annotated[
        str,
        typer.Option(
            help="read: look only; submit: also files, jobs and chats; admin: also deletion and the audit log."
        ),
    ] = "submit",
    project: Annotated[
        str | None,
        typer.Option(metavar="P", help="Limit the token to this project. Default: the default project; admins: all."),
    ] = None,
    expires: Annotated[float | None, typer.Option(metavar="DAYS", help="Default: valid until it is revoked.")] = None,
    json_: output.Json = False,
) -> None:
    """Make a token, and print its secret, which is never shown again.

    Programs use it as their API key. From the first token on, the gateway requires one.
    """
    with open_command_store() as store:
        row, secret = store.tokens.add(name, scope=scope, project=project, days=expires)
        first = store.tokens.count_tokens()[0] == 1
    if output.print_if_json(_described(row) | {"secret": secret}):
        return
    output.print_line(secret)
    output.print_note(
        f"{row.scope} in {row.project or 'every project'}{_until(row)}. It is shown this once: keep it now."
    )
    output.print_note(f"Programs: export OPENAI_API_KEY={secret[:6]}...")
    if first:
        output.print_note("From now on the gateways of this store require a token.")


@token_group.command("list")
def token_list_command(wide: output.Wide = False, tsv: output.Tsv = False, json_: output.Json = False) -> None:
    """List the tokens, without their secrets."""
    with open_command_store() as store:
        rows = store.tokens.all()
    if output.print_if_json({"object": "list", "data": [_described(row) for row in rows]}):
        return
    if not rows:
        output.print_note("no tokens; `tuneport token create NAME` makes one")
        return
    table = CommandTable(
        (
            Column("name", wrap=True),
            Column("id"),
            Column("scope"),
            Column("project", rank=2),
            Column("used", rank=1),
            Column("state"),
        )
    )
    for row in rows:
        used = "never" if row.last_used_at is None else output.ago(row.last_used_at)
        table.add_row(row.name, row.id, row.scope, row.project or "(every)", used, _state(row))
    table.print()


@token_group.command("revoke")
def token_revoke_command(
    token: Annotated[str, typer.Argument(metavar="TOKEN", help="The token's name or id.", show_default=False)],
    json_: output.Json = False,
) -> None:
    """Revoke a token. Within a second, every gateway of the store refuses it and the browsers logged in with it."""
    with open_command_store() as store:
        row = store.tokens.revoke(token)
    if not output.print_if_json(_described(row)):
        output.print_note(f"{row.name} ({row.id}) is revoked")


def audit_command(
    since: Annotated[str | None, typer.Option(metavar="DATE", help="2026-11-26, or 2026-11-26T12:00.")] = None,
    project: Annotated[str | None, typer.Option(metavar="P", help="Only entries of this project.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=1_000_000, help="Most entries to show, newest first.")] = 50,
    wide: output.Wide = False,
    tsv: output.Tsv = False,
    json_: output.Json = False,
) -> None:
    """Show who changed what, estimated and actual costs of jobs, and who used how many chat tokens. Times are UTC."""
    from tuneport.lifecycle.store.audit import audit_record_document

    with open_command_store() as store:
        rows, more = store.audit.page(limit=limit, since=None if since is None else _moment(since), project=project)
    if output.print_if_json({"object": "list", "data": [audit_record_document(row) for row in rows], "has_more": more}):
        return
    if not rows:
        output.print_note("no entries yet" if since is None and project is None else "no matching entries")
        return
    table = CommandTable(
        (
            Column("time"),
            Column("who", cut=True),
            Column("action"),
            Column("subject", wrap=True),
            Column("tokens", rank=2, right=True),
            Column("cost", rank=1, right=True),
        )
    )
    for row in rows:
        cost = "" if row.usd is None else output.money(row.usd)
        counted = row.prompt_tokens is not None and row.completion_tokens is not None
        tokens = f"{row.prompt_tokens:,} + {row.completion_tokens:,}" if counted else ""
        table.add_row(f"{row.created_at:%m-%d %H:%M:%S}", row.name, row.action, row.subject, tokens, cost)
    table.print()
    if more:
        output.print_note(f"the newest {limit}; --limit shows more")


def _described(row: TokenRecord) -> dict[str, Any]:
    return {
        "object": "tuneport.token",
        "id": row.id,
        "name": row.name,
        "scope": row.scope,
        "project": row.project,
        "created_at": row.created_at.isoformat(),
        "expires_at": None if row.expires_at is None else row.expires_at.isoformat(),
        "revoked_at": None if row.revoked_at is None else row.revoked_at.isoformat(),
        "last_used_at": None if row.last_used_at is None else row.last_used_at.isoformat(),
        "state": _state(row),
    }


def _state(row: TokenRecord) -> str:
    if row.revoked_at is not None:
        return "revoked"
    return "expired" if row.expires_at is not None and row.expires_at <= datetime.now(UTC) else "live"


def _until(row: TokenRecord) -> str:
    return "" if row.expires_at is None else f" until {row.expires_at:%Y-%m-%d %H:%M} UTC"


def _moment(text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise ConfigError(f"--since {text!r} is not a time; write 2026-11-26 or 2026-11-26T12:00") from error
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
