"""serve: the gateway, for programs that speak OpenAI's fine-tuning API."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Annotated

import typer

from tuneport.cli import output
from tuneport.cli.listening import answer, listen
from tuneport.cli.serving_log import LogFormat, LogLevel, begin
from tuneport.errors import ConfigError

if TYPE_CHECKING:
    from tuneport.settings import Settings

LOOPBACK = ("127.0.0.1", "localhost", "::1")


def register(app: typer.Typer) -> None:
    app.command()(serve)


def serve(
    host: Annotated[
        str, typer.Option(help="Where it listens. Any but this machine's own needs a token to exist first.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes any free one.")] = 8321,
    map_: Annotated[
        list[str] | None,
        typer.Option(
            "--map", metavar="MODEL=WEIGHTS", help="What stands in for a model: WEIGHTS, or BACKEND/MODEL. Repeatable."
        ),
    ] = None,
    allow_personal_data: Annotated[
        bool, typer.Option("--allow-personal-data", help="Upload what looks like personal data to third parties, too.")
    ] = False,
    log_format: Annotated[LogFormat, typer.Option(help="json: a line for each request and change.")] = LogFormat.TEXT,
    log_level: Annotated[LogLevel, typer.Option(help="info tells each request.")] = LogLevel.WARNING,
    require_token: Annotated[
        bool | None,
        typer.Option(
            "--require-token/--no-require-token",
            help="Ask everybody for a token. Left out: as soon as `tuneport token create` made one.",
            show_default=False,
        ),
    ] = None,
    public_host: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="A name by which browsers may reach the dashboard. Repeatable."),
    ] = None,
    json_: output.Json = False,
) -> None:
    """Run the gateway: OpenAI's files, fine-tuning jobs, models and chats over any backend.

    Programs set [bold]OPENAI_BASE_URL[/bold] to its address. Ctrl-C or SIGTERM ends it when what is under way is done;
    jobs run on, and the next gateway (or any tuneport command) looks after them.
    """
    from tuneport.settings import Settings

    begin(log_format, log_level)
    settings = with_stand_ins(Settings.load(), map_ or [])
    if host not in LOOPBACK:
        if require_token is False:
            raise ConfigError(f"--no-require-token is for this machine only; --host {host} is reachable from others")
        require_token = True
    _run(
        settings,
        host,
        port,
        require_token=require_token,
        public_hosts=tuple(public_host or ()),
        allow_personal_data=allow_personal_data,
    )


def with_stand_ins(settings: Settings, pairs: list[str]) -> Settings:
    """The settings of this gateway: with an id of its own, and with `--map` before what `tuneport.toml` says."""
    from pydantic import SecretStr

    from tuneport.backends import backend_names

    names = backend_names(settings)
    models = dict(settings.project.models)
    for pair in pairs:
        name, sign, target = (part.strip() for part in pair.partition("="))
        if not sign or not name or not target:
            raise ConfigError(f"--map {pair!r} is no pair; write --map gpt-4o-mini-2024-07-18=llama-3.1-8b-instruct")
        prefix, _, rest = target.partition("/")
        models[name] = {prefix: rest} if rest and prefix in names else dict.fromkeys(names, target)
    environment = settings.environment | {"TUNEPORT_GATEWAY_ID": SecretStr(secrets.token_hex(8))}
    return settings.model_copy(
        update={"project": settings.project.model_copy(update={"models": models}), "environment": environment}
    )


def _run(
    settings: Settings,
    host: str,
    port: int,
    *,
    require_token: bool | None,
    public_hosts: tuple[str, ...],
    allow_personal_data: bool,
) -> None:
    try:
        import uvicorn  # noqa: F401 (for `answer`: missed before anything has begun)

        from tuneport.jobs.store import Store
        from tuneport.jobs.tokens import is_live
        from tuneport.serve import AccessRules, Gateway, create_app
        from tuneport.types import now
    except ImportError as error:
        raise ConfigError(f'serve needs the {error.name} package: pip install "tuneport[serve]"') from error
    if require_token:
        store = Store(settings.database_url)
        moment = now()
        anybody = any(is_live(row, moment) for row in store.tokens())
        store.close()
        if not anybody:
            reason = "is reachable from elsewhere" if host not in LOOPBACK else "with --require-token lets nobody in"
            raise ConfigError(f"--host {host} {reason}, and there is no token yet: `tuneport token create NAME` first")
    listening = listen(host, port)
    rules = AccessRules(require_token=require_token, public_hosts=public_hosts)
    with listening, Gateway(settings, allow_personal_data=allow_personal_data, access=rules) as gateway:
        shown = f"[{host}]" if ":" in host else host
        url = f"http://{shown}:{listening.getsockname()[1]}/v1"
        gateway.start()
        if output.as_json:
            output.document({"object": "tuneport.gateway", "base_url": url, "backend": settings.backend})
        else:
            backend = settings.backend or "the best for each job (TUNEPORT_BACKEND says another)"
            console = output.console()
            console.print(f"[bold]{url}[/bold]  backend: {backend}")
            console.print(f"Programs: export OPENAI_BASE_URL={url}", style="dim")
            console.print(f"Dashboard: {url.removesuffix('v1')}", style="dim")
        answer(create_app(gateway), listening, let_go=gateway.let_go)
