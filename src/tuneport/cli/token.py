"""token create, list, revoke; audit: who may use the gateway, and who did what."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tuneport.cli import output
from tuneport.errors import ConfigError

if TYPE_CHECKING:
    from tuneport.jobs.tables import TokenRow

_tokens = typer.Typer(name="token", no_args_is_help=True, help="Who may use the gateway (`tuneport serve`).")


def register(app: typer.Typer) -> None:
    for command in (create, list_, revoke):
        _tokens.command(name=command.__name__.rstrip("_"))(command)
    app.add_typer(_tokens)
    app.command()(audit)


def create(
    name: Annotated[str, typer.Argument(metavar="NAME", help="What you know it by.", show_default=False)],
    scope: Annotated[
        str, typer.Option(help="read: look. submit: files, jobs, chats, too. admin: delete, too, and the audit log.")
    ] = "submit",
    project: Annotated[
        str | None,
        typer.Option(metavar="P", help="All else does not exist for it. Left out: default; of an admin, every one."),
    ] = None,
    expires: Annotated[
        float | None, typer.Option(metavar="DAYS", help="Left out: it is good until it is revoked.")
    ] = None,
    json_: output.Json = False,
) -> None:
    """Make a token, and print its secret: now and never again.

    Programs use it as their API key. From the first token on, the gateway answers nobody without one.
    """
    from tuneport.jobs.store import Store
    from tuneport.settings import Settings

    store = Store(Settings.load().database_url)
    row, secret = store.add_token(name, scope=scope, project=project, days=expires)
    first = store.token_marks()[0] == 1
    store.close()
    if output.as_json:
        output.document(_described(row) | {"secret": secret})
        return
    print(secret)
    output.note(f"{row.scope} in {row.project or 'every project'}{_until(row)}. It is shown this once: keep it now.")
    output.note(f"Programs: export OPENAI_API_KEY={secret[:6]}...")
    if first:
        output.note("From now on the gateways of this store answer nobody without a token.")


def list_(json_: output.Json = False) -> None:
    """List the tokens, without their secrets."""
    from tuneport.jobs.store import Store
    from tuneport.settings import Settings

    store = Store(Settings.load().database_url)
    rows = store.tokens()
    store.close()
    if output.as_json:
        output.document({"object": "list", "data": [_described(row) for row in rows]})
        return
    if not rows:
        output.note("no tokens; `tuneport token create NAME` makes one")
        return
    table = output.table("name", "id", "scope", "project", "used", "state", cut=("name", "project"))
    for row in rows:
        used = "never" if row.last_used_at is None else output.ago(row.last_used_at)
        table.add_row(row.name, row.id, row.scope, row.project or "(every)", used, _state(row))
    output.console().print(table)


def revoke(
    token: Annotated[str, typer.Argument(metavar="TOKEN", help="Its name or id.", show_default=False)],
    json_: output.Json = False,
) -> None:
    """Revoke a token: every gateway of the store refuses it within a second, and browsers that it let in."""
    from tuneport.jobs.store import Store
    from tuneport.settings import Settings

    store = Store(Settings.load().database_url)
    row = store.revoke_token(token)
    store.close()
    if output.as_json:
        output.document(_described(row))
    else:
        output.note(f"{row.name} ({row.id}) is revoked")


def audit(
    since: Annotated[str | None, typer.Option(metavar="DATE", help="2026-11-26, or 2026-11-26T12:00.")] = None,
    project: Annotated[str | None, typer.Option(metavar="P", help="Of one project only.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=1_000_000, help="How many, newest first.")] = 50,
    json_: output.Json = False,
) -> None:
    """Show who changed what, what jobs may cost and cost, and who chatted for how many tokens. Times are UTC."""
    from tuneport.jobs.audit import entry
    from tuneport.jobs.store import Store
    from tuneport.settings import Settings

    store = Store(Settings.load().database_url)
    rows, more = store.audit_page(limit=limit, since=None if since is None else _moment(since), project=project)
    store.close()
    if output.as_json:
        output.document({"object": "list", "data": [entry(row) for row in rows], "has_more": more})
        return
    if not rows:
        output.note("nothing has been done yet" if since is None and project is None else "nothing of that kind")
        return
    table = output.table(
        "time", "who", "action", "subject", "tokens", "cost", right=("tokens", "cost"), cut=("who", "subject")
    )
    for row in rows:
        cost = "" if row.usd is None else output.money(row.usd)
        counted = row.prompt_tokens is not None and row.completion_tokens is not None
        tokens = f"{row.prompt_tokens:,} + {row.completion_tokens:,}" if counted else ""
        table.add_row(f"{row.created_at:%m-%d %H:%M:%S}", row.name, row.action, row.subject, tokens, cost)
    output.console().print(table)
    if more:
        output.note(f"the newest {limit}; --limit shows more")


def _described(row: TokenRow) -> dict[str, Any]:
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


def _state(row: TokenRow) -> str:
    if row.revoked_at is not None:
        return "revoked"
    return "expired" if row.expires_at is not None and row.expires_at <= datetime.now(UTC) else "live"


def _until(row: TokenRow) -> str:
    return "" if row.expires_at is None else f" until {row.expires_at:%Y-%m-%d %H:%M} UTC"


def _moment(text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise ConfigError(f"--since {text!r} is no time; write 2026-11-26 or 2026-11-26T12:00") from error
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
