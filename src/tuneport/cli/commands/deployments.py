"""The commands deploy, undeploy and deployments: endpoints for tuned models, and their cost."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tuneport.cli.views import output
from tuneport.cli.views.proposal import endpoint_confirmation
from tuneport.cli.views.table import Column, CommandTable
from tuneport.errors import ConfigError, ModelNotOfferedError, ProviderError, TuneportError, UnsupportedError

if TYPE_CHECKING:
    from tuneport.backends.base import FineTuneBackend
    from tuneport.lifecycle.service import JobService
    from tuneport.types import Deployment

Json = output.Json
BackendName = Annotated[str | None, typer.Option("--backend", "-b", help="The backend of a model without a job here.")]
_POLL_SECONDS = 5.0


def deploy_command(
    model: Annotated[str, typer.Argument(metavar="JOB|MODEL", help="A job, or its tuned model.", show_default=False)],
    backend: BackendName = None,
    hardware: Annotated[
        str | None, typer.Option(help="Part of the hardware's name. Default: the cheapest that fits.")
    ] = None,
    replicas: Annotated[
        int | None, typer.Option(min=1, help="Number of replicas; each costs the full price. Default: 1.")
    ] = None,
    inactive_timeout: Annotated[
        int | None,
        typer.Option(metavar="MINUTES", min=0, help="Stop after so many idle minutes; 0 for never. Default: 30."),
    ] = None,
    max_usd_per_hour: Annotated[
        float | None, typer.Option(min=0, help="Refuse an endpoint that costs more an hour.")
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Ask nothing, whatever the endpoint costs.")] = False,
    wait: Annotated[bool, typer.Option("--wait", help="Wait until the endpoint answers.")] = False,
    json_: Json = False,
) -> None:
    """Start an endpoint for a tuned model. It costs money while it is up: [bold]tuneport undeploy[/bold] stops it."""
    from tuneport.lifecycle.proposing.consent import deploy_with_consent
    from tuneport.lifecycle.service import JobService

    with JobService() as workspace:
        name, model_id = _find_deployed_model(workspace, model, backend)
        opened = workspace.backend(name)
        asked = {
            "hardware": hardware,
            "replicas": replicas,
            "inactive_timeout": inactive_timeout,
            "max_usd_per_hour": max_usd_per_hour,
        }
        given = {option: value for option, value in asked.items() if value is not None}
        found = deploy_with_consent(opened, model_id, given, endpoint_confirmation(yes))
        stop = f"tuneport undeploy {found.id} --backend {name}"
        price = "an unknown price" if found.usd_per_hour is None else output.money(found.usd_per_hour)
        idle = found.details.get("inactive_timeout_minutes")
        ends = (
            "" if idle is None else f" or {idle} minutes without a request" if idle else " (it never stops by itself)"
        )
        output.print_note(f"{found.id} is {found.status} and costs {price} an hour until `{stop}`{ends}")
        if wait:
            output.set_interrupt_message(
                f"stopped waiting; {found.id} goes on and costs {price} an hour: `{stop}`", job=found.id
            )
            found = _await(opened, found)
    if not output.print_if_json(_document(name, found) | {"stop": stop}):
        output.print_line(f"{found.id} is {found.status} ({found.raw_status}), costs {price} an hour")
        output.print_line(f"stop it: {stop}")


def undeploy_command(
    deployment: Annotated[
        str, typer.Argument(metavar="ID", help="The endpoint's id, as `deployments` shows it.", show_default=False)
    ],
    backend: Annotated[str | None, typer.Option("--backend", "-b", help="Default: the backend that has it.")] = None,
    json_: Json = False,
) -> None:
    """Stop an endpoint, so that it costs nothing more. Does nothing if it is already stopped."""
    from tuneport.lifecycle.service import JobService

    with JobService() as workspace:
        name = backend or _holder(workspace, deployment)
        workspace.backend(name).undeploy(deployment)
    if not output.print_if_json({"id": deployment, "backend": name, "status": "stopped"}):
        output.print_line(f"{deployment} on {name} is stopped and costs nothing more")


def deployments_command(
    backend: Annotated[str | None, typer.Option("--backend", "-b", help="Default: all that have a key.")] = None,
    wide: output.Wide = False,
    tsv: output.Tsv = False,
    json_: Json = False,
) -> None:
    """List the running endpoints, with their cost an hour and the most that they have cost so far."""
    from tuneport.lifecycle.service import JobService

    with JobService() as workspace:
        found, trouble = _list_endpoints(workspace, backend)
    for name, message in trouble.items():
        output.print_note(f"{name}: not asked: {message}")
    if output.as_json:
        data = [_document(name, each) for name, each in found]
        output.print_json_document({"object": "list", "data": data, "trouble": trouble})
        return
    if not found:
        output.print_note("no endpoints" + (f" known: {', '.join(trouble)} could not be asked" if trouble else ""))
        return
    table = CommandTable(
        (
            Column("endpoint"),
            Column("status"),
            Column("backend"),
            Column("model", rank=2),
            Column("an hour", right=True),
            Column("so far", rank=1, right=True),
        )
    )
    for name, each in found:
        so_far = _cost_so_far(each)
        table.add_row(
            each.id,
            each.status,
            name,
            each.model,
            output.money(each.usd_per_hour),
            "-" if so_far is None else f"at most {output.money(so_far)}",
        )
    table.print()
    if not output.as_tsv:
        output.print_line("stop one: tuneport undeploy ID")


def _find_deployed_model(workspace: JobService, model: str, backend: str | None) -> tuple[str, str]:
    """Return the backend and its name of the model, which need not have been tuned by tuneport."""
    try:
        return workspace.locate(model, backend=backend)
    except ModelNotOfferedError:
        if backend is None:
            raise
        return backend, model


def _list_endpoints(workspace: JobService, backend: str | None) -> tuple[list[tuple[str, Deployment]], dict[str, str]]:
    """Return each endpoint with its backend, and the reason for each backend that could not be asked. A missing key
    counts as a reason only if the backend was named."""
    from tuneport.backends import backend_manifest, backend_names

    found: list[tuple[str, Deployment]] = []
    trouble: dict[str, str] = {}
    for name in [backend] if backend else backend_names(workspace.settings):
        variable = backend_manifest(name, workspace.settings).api_key_env
        if backend is None and variable is not None and workspace.settings.secret(variable) is None:
            continue
        try:
            found += [(name, each) for each in workspace.backend(name).deployments()]
        except UnsupportedError:
            if backend is not None:
                raise
        except (ProviderError, ConfigError) as error:
            trouble[name] = str(error)
    return found, trouble


def _holder(workspace: JobService, deployment: str) -> str:
    found, trouble = _list_endpoints(workspace, None)
    names = [name for name, each in found if each.id == deployment]
    if names:
        return names[0]
    asked = f"; not asked: {', '.join(f'{name} ({why})' for name, why in trouble.items())}" if trouble else ""
    raise ConfigError(f"no backend has an endpoint {deployment}{asked}; `tuneport deployments` lists them")


def _await(backend: FineTuneBackend, deployment: Deployment) -> Deployment:
    """Wait until the endpoint no longer starts, and return it."""
    while deployment.status == "starting":
        output.raise_if_interrupted()
        time.sleep(_POLL_SECONDS)
        try:
            listed = list(backend.deployments())
        except TuneportError as error:
            if not getattr(error, "retryable", False):
                raise
            continue
        now = next((each for each in listed if each.id == deployment.id), None)
        if now is None:
            raise ConfigError(f"{deployment.id} was stopped by someone else")
        deployment = now
    return deployment


def _document(name: str, deployment: Deployment) -> dict[str, Any]:
    return deployment.model_dump(mode="json") | {"backend": name, "usd_so_far_at_most": _cost_so_far(deployment)}


def _cost_so_far(deployment: Deployment) -> float | None:
    """Return the cost as if the endpoint had been up since it was made. Providers bill less: by the minute in which
    a replica was ready."""
    if deployment.usd_per_hour is None or deployment.created_at is None or deployment.status == "stopped":
        return None
    hours = (datetime.now(UTC) - deployment.created_at).total_seconds() / 3600
    return max(0.0, hours) * deployment.usd_per_hour
