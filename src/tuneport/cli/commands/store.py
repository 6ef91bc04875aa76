"""The command store: where the jobs are kept, in which version, with upgrade and downgrade."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from tuneport.cli.views import output

if TYPE_CHECKING:
    from tuneport.lifecycle.schema.store_admin import StoreSchemaReport

store_group = typer.Typer(
    help="Show the store's version and size; upgrade or downgrade it.", invoke_without_command=True
)


@store_group.callback()
def store_command(context: typer.Context, json_: output.Json = False) -> None:
    """Show the store's location, version and contents. Changes nothing."""
    from tuneport.lifecycle.schema.store_admin import inspect_store
    from tuneport.settings import Settings

    if context.invoked_subcommand is None:
        _print(inspect_store(Settings.load().database_url))


@store_group.command("upgrade")
def store_upgrade_command(json_: output.Json = False) -> None:
    """Create the store, or bring it to this tuneport's version. Every command that uses the store does so, too."""
    from tuneport.lifecycle.schema.store_admin import upgrade_store
    from tuneport.settings import Settings

    _print(upgrade_store(Settings.load().database_url))


@store_group.command("downgrade")
def store_downgrade_command(
    version: Annotated[int, typer.Argument(metavar="VERSION", help="The version to go back to.")],
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    json_: output.Json = False,
) -> None:
    """Go back to the tables of an older tuneport, which must then be the one that opens the store.

    It says first what will be lost. Stop every gateway and copy the database before.
    """
    from tuneport.lifecycle.schema.store_admin import downgrade_store, list_downgrade_losses
    from tuneport.settings import Settings

    url = Settings.load().database_url
    lost = list_downgrade_losses(url, version)
    told = output.console(stderr=True)
    told.print("this is lost for good, version by version:")
    for line in lost:
        told.print(line, markup=False)
    output.confirm_action(f"downgrade the store to version {version}?", yes=yes, otherwise="nothing was changed")
    _print(downgrade_store(url, version), lost=lost)


def _print(report: StoreSchemaReport, *, lost: list[str] | None = None) -> None:
    if output.print_if_json({"object": "tuneport.store"} | report.as_dict() | ({} if lost is None else {"lost": lost})):
        return
    output.print_line(report.url)
    if report.version is None:
        output.print_line("not made yet; the first command that needs it makes it")
        return
    if report.version == report.known_version:
        of = "which is this tuneport's"
    elif report.version < report.known_version:
        of = f"and this tuneport's is {report.known_version}: the next command upgrades it"
    else:
        of = f"and this tuneport knows {report.known_version}: it cannot use it"
    output.print_line(f"version {report.version}, {of}; {output.size(report.bytes)}")
    table = output.console_table("table", "rows", right=("rows",))
    for name, count in report.rows.items():
        table.add_row(name, f"{count:,}")
    output.console().print(table)
