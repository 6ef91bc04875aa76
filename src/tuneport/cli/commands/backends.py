"""The commands backends and doctor: what is configured, reachable or missing."""

from __future__ import annotations

from dataclasses import asdict
from datetime import date

import typer

from tuneport.cli.views import output
from tuneport.cli.views.table import Column, CommandTable


def backends_command(wide: output.Wide = False, tsv: output.Tsv = False, json_: output.Json = False) -> None:
    """List the backends: which are configured, which is the default, when they shut down."""
    from tuneport.settings import Settings
    from tuneport.workflows.doctor import list_backend_states as look

    rows = look(Settings.load(), date.today())
    if output.print_if_json({"object": "list", "data": rows}):
        return
    from rich.text import Text

    table = CommandTable((Column("backend"), Column("ready"), Column("what is missing", wrap=True), Column("new jobs")))
    for row in rows:
        name = Text.assemble((row["name"], "bold"), " (default)") if row["default"] else row["name"]
        missing = row["install"] or (f"{row['api_key_env']} is not set" if row["key_set"] is False else "")
        table.add_row(
            name,
            Text("yes", "green") if row["configured"] else Text("no", "yellow"),
            missing,
            f"until {row['no_new_jobs_from']}"
            if row["no_new_jobs_from"]
            else ""
            if row["accepts_new_jobs"]
            else "none",
        )
    table.print()


def doctor_command(json_: output.Json = False) -> None:
    """Check this machine, the store and every backend, and say how to fix what is wrong."""
    from tuneport.settings import Settings
    from tuneport.workflows.doctor import doctor as look

    findings = []
    colours = {"ok": "green", "warn": "yellow", "fail": "red"}
    console = output.console()
    for finding in look(Settings.load(), date.today()):
        findings.append(finding)
        if not output.as_json:
            fix = f"; {finding.fix}" if finding.fix else ""
            colour = colours[finding.verdict]
            console.print(
                f"[{colour}]{finding.verdict:<4}[/{colour}] {output.escape_markup(finding.subject):<9} ", end=""
            )
            console.print(f"{finding.message}{fix}", markup=False)
    if output.as_json:
        output.print_json_document({"object": "list", "data": [asdict(finding) for finding in findings]})
    if any(finding.verdict == "fail" for finding in findings):
        raise typer.Exit(2)
