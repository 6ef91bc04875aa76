"""The command serve: the gateway, for programs that use OpenAI's fine-tuning API."""

from __future__ import annotations

import secrets
from contextlib import closing
from typing import TYPE_CHECKING, Annotated

import typer

from tuneport.cli.listening import open_command_socket, run_command_until_signal, serve_extra_for
from tuneport.cli.views import output
from tuneport.cli.views.serving_log import LogFormat, LogLevel, configure_terminal_logging
from tuneport.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tuneport.settings import Settings

LOOPBACK = ("127.0.0.1", "localhost", "::1")


def serve_command(
    host: Annotated[
        str, typer.Option(help="Address to listen at. Any other than loopback needs a token first.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes any free one.")] = 8321,
    map_: Annotated[
        list[str] | None,
        typer.Option(
            "--map", metavar="MODEL=WEIGHTS", help="The replacement for a model: WEIGHTS, or BACKEND/MODEL. Repeatable."
        ),
    ] = None,
    allow_personal_data: Annotated[
        bool, typer.Option("--allow-personal-data", help="Upload what looks like personal data to third parties, too.")
    ] = False,
    client_option: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="Let clients set an option that is otherwise only yours, such as wandb or python_graders. Repeatable.",
        ),
    ] = None,
    log_format: Annotated[LogFormat, typer.Option(help="json: a line for each request and change.")] = LogFormat.TEXT,
    log_level: Annotated[LogLevel, typer.Option(help="info logs each request.")] = LogLevel.WARNING,
    require_token: Annotated[
        bool | None,
        typer.Option(
            "--require-token/--no-require-token",
            help="Require a token. Default: as soon as `tuneport token create` made one.",
            show_default=False,
        ),
    ] = None,
    public_host: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="A host name that browsers may use for the dashboard. Repeatable."),
    ] = None,
    json_: output.Json = False,
) -> None:
    """Run the gateway: OpenAI's files, fine-tuning jobs, models and chats over any backend.

    Set [bold]OPENAI_BASE_URL[/bold] to its address in your programs.

    Ctrl-C or SIGTERM ends it after running requests. Jobs run on; the next gateway or tuneport command polls them.
    """
    from tuneport.settings import Settings

    configure_terminal_logging(log_format, log_level)
    settings = apply_client_options(apply_map_option(Settings.load(), map_ or []), client_option or [])
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


def apply_map_option(settings: Settings, pairs: list[str]) -> Settings:
    """Return the settings of this gateway: with an id of its own, and with `--map` before `tuneport.toml`."""
    from pydantic import SecretStr

    from tuneport.backends import backend_names

    names = backend_names(settings)
    models = dict(settings.project.models)
    for pair in pairs:
        name, sign, target = (part.strip() for part in pair.partition("="))
        if not sign or not name or not target:
            raise ConfigError(f"--map {pair!r} is not a pair; write --map gpt-4o-mini-2024-07-18=llama-3.1-8b-instruct")
        prefix, _, rest = target.partition("/")
        models[name] = {prefix: rest} if rest and prefix in names else dict.fromkeys(names, target)
    environment = settings.environment | {"TUNEPORT_GATEWAY_ID": SecretStr(secrets.token_hex(8))}
    return settings.model_copy(
        update={"project": settings.project.model_copy(update={"models": models}), "environment": environment}
    )


def apply_client_options(settings: Settings, names: list[str]) -> Settings:
    """Return the settings of this gateway: with `--client-option` added to what `tuneport.toml` opens to clients."""
    rules = settings.project.gateway
    rules = rules.model_copy(update={"client_options": (*rules.client_options, *names)})
    return settings.model_copy(update={"project": settings.project.model_copy(update={"gateway": rules})})


def _describe_client_options(opened: Mapping[str, str]) -> str:
    if not opened:
        return "Clients may set: the numbers of training only (--client-option NAME opens more)"
    lines = [f"  {name}: {because}" for name, because in opened.items()]
    return "\n".join(["Clients may also set:", *lines])


def _run(
    settings: Settings,
    host: str,
    port: int,
    *,
    require_token: bool | None,
    public_hosts: tuple[str, ...],
    allow_personal_data: bool,
) -> None:
    with serve_extra_for("serve"):
        from tuneport.lifecycle.store.store import Store
        from tuneport.lifecycle.store.tokens import is_token_live
        from tuneport.serve import AccessRules, Gateway, background, create_app
        from tuneport.types import now
    if require_token:
        with closing(Store(settings.database_url).unscoped()) as store:
            moment = now()
            has_token = any(is_token_live(row, moment) for row in store.tokens.all())
        if not has_token:
            reason = "is reachable from elsewhere" if host not in LOOPBACK else "with --require-token needs a token"
            raise ConfigError(f"--host {host} {reason}, and there is no token yet: `tuneport token create NAME` first")
    listening = open_command_socket(host, port)
    rules = AccessRules(require_token=require_token, public_hosts=public_hosts)
    with listening, Gateway(settings, allow_personal_data=allow_personal_data, access=rules) as gateway:
        shown = f"[{host}]" if ":" in host else host
        url = f"http://{shown}:{listening.getsockname()[1]}/v1"
        background.start_gateway_threads(gateway)
        if output.as_json:
            told = {"base_url": url, "backend": settings.backend, "client_options": list(gateway.opened_to_clients)}
            output.print_json_document({"object": "tuneport.gateway", **told})
        else:
            backend = settings.backend or "this machine, unless a request or TUNEPORT_BACKEND names another"
            most = settings.project.gateway.job_budget
            console = output.console()
            console.print(f"[bold]{output.escape_markup(url)}[/bold]  backend: {output.escape_markup(backend)}")
            console.print(f"Programs: export OPENAI_BASE_URL={url}", style="dim", markup=False)
            console.print(f"Dashboard: {url.removesuffix('v1')}", style="dim", markup=False)
            if most is not None:
                console.print(f"A job may cost: {output.money(most)} at most", style="dim", markup=False)
            console.print(_describe_client_options(gateway.opened_to_clients), style="dim", markup=False)
        run_command_until_signal(create_app(gateway), listening, begin_shutdown=gateway.begin_shutdown)
