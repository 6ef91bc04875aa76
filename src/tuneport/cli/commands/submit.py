"""The command submit: one call, any backend. Its flags are those of `lifecycle/submitting/flags.py`."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tuneport.cli.epochs import Epochs, add_epochs
from tuneport.cli.mapping import parse_map_option
from tuneport.cli.option_list import print_option_list, wants_option_list
from tuneport.cli.views import output
from tuneport.cli.views.following import follow_job_progress, print_outcome_and_exit
from tuneport.cli.views.proposal import backend_question, confirmation, print_job_proposal
from tuneport.errors import ConfigError
from tuneport.lifecycle.submitting.flags import (
    OPTION_FLAGS,
    SPEC_FLAGS,
    Flag,
    parse_job_option_pairs,
    parse_job_option_texts,
    parse_job_wandb_flag,
    parse_template_flag,
)
from tuneport.lifecycle.submitting.hold_out import HoldOut, parse_hold_out_share
from tuneport.lifecycle.submitting.options import JobOptions
from tuneport.types import TuneSpec
from tuneport.validation import decode_json, parse_or_config_error

if TYPE_CHECKING:
    from tuneport.data.dataset import Dataset
    from tuneport.lifecycle.proposing.terms import BindingTerm

Json = output.Json
Data = Annotated[
    Path | None,
    typer.Argument(metavar="DATA", help="The training file. Replaces the one in --spec.", show_default=False),
]
Backend = Annotated[
    str | None,
    typer.Option("--backend", "-b", help="Default: that of TUNEPORT_BACKEND or tuneport.toml.", show_default=False),
]
SpecFile = Annotated[
    Path | None,
    typer.Option(
        "--spec",
        metavar="FILE",
        help="A job as a TOML file, as `tuneport migrate` saves it; other flags replace its values.",
    ),
]
Push = Annotated[
    str | None,
    typer.Option(
        "--push-to-hub",
        metavar="OWNER/NAME",
        help="With --wait: push the weights to the model hub.",
    ),
]
_TYPES: Mapping[str, Any] = {
    "path": Path | None,
    "json_file": Path | None,
    "whole": int | None,
    "number": float | None,
    "columns": list[str] | None,
    "texts": list[str] | None,
    "values": list[str] | None,
    "names": list[str] | None,
    "switch": bool,
}


@dataclass(frozen=True)
class SubmitArguments:
    """The job that the command's arguments describe."""

    spec: TuneSpec
    data: Dataset
    options: JobOptions
    backend: str | None
    hold_out: HoldOut = None


def _with_flags(function: Any) -> Any:
    """Return the function with a parameter for each flag, for Typer to read."""
    own = inspect.signature(function, eval_str=True)
    named = [each for each in own.parameters.values() if each.kind is not inspect.Parameter.VAR_KEYWORD]
    first = [each.replace(kind=inspect.Parameter.KEYWORD_ONLY) for each in named]
    parameters = first[:2] + _parameters(SPEC_FLAGS) + first[2:3] + _parameters(OPTION_FLAGS) + first[3:]

    def with_flags(**given: Any) -> None:
        function(**given)

    with_flags.__doc__ = function.__doc__
    with_flags.__signature__ = own.replace(parameters=parameters)  # type: ignore[attr-defined]
    return with_flags


def _parameters(flags: Sequence[Flag]) -> list[inspect.Parameter]:
    found = []
    for flag in flags:
        found.append(_parameter(flag))
        if flag.off is not None:
            found.append(_switch(_off(flag), flag.off, flag.off_help))
    return found


def _off(flag: Flag) -> str:
    return f"not_{flag.field}"


def _parameter(flag: Flag) -> inspect.Parameter:
    if flag.kind == "switch":
        return _switch(flag.field, flag.flag, flag.help)
    names = [flag.flag] if flag.short is None else [flag.flag, flag.short]
    option = typer.Option(*names, help=flag.help, metavar=flag.metavar)
    annotation: Any = Annotated[_TYPES.get(flag.kind, str | None), option]
    return inspect.Parameter(flag.field, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation)


def _switch(name: str, flag: str, help_: str) -> inspect.Parameter:
    annotation = Annotated[bool, typer.Option(flag, help=help_)]
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=False, annotation=annotation)


@_with_flags
def submit_command(
    dataset: Data = None,
    spec_file: SpecFile = None,
    backend: Backend = None,
    allow_large: output.AllowLarge = False,
    push: Push = None,
    epochs: Epochs = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Ask nothing, whatever the job costs.")] = False,
    wait: Annotated[bool, typer.Option("--wait", help="Follow the job to its end.")] = False,
    json_: Json = False,
    **flags: Any,
) -> None:
    """Start a fine-tuning job on any backend: [bold]tuneport submit train.jsonl --model llama-3.1-8b-instruct[/bold]"""
    from tuneport.lifecycle.hub import check_job_push, push_job_to_hub
    from tuneport.lifecycle.service import JobService

    for flag in SPEC_FLAGS:
        if flag.kind == "values" and wants_option_list(flags[flag.field]):
            print_option_list(flag.flag, backend)
            return
    if push is not None and not wait:
        raise ConfigError(
            "--push-to-hub needs --wait, since the trainer has no key; or push later: tuneport download JOB "
            "--push-to-hub OWNER/NAME"
        )
    flags["hyperparameters"] = add_epochs(flags["hyperparameters"], epochs)
    asked = read_submit_arguments({"dataset": dataset, "spec_file": spec_file, "backend": backend} | flags)
    with JobService() as workspace:
        if push is not None:
            check_job_push(push, workspace.settings)
        proposal = workspace.propose(
            asked.spec,
            backend=asked.backend,
            options=asked.options,
            choose=backend_question(),
            dataset=asked.data,
            hold_out=asked.hold_out,
        )
        print_job_proposal(proposal)
        row = workspace.submit_proposal(proposal, confirm=confirmation(yes))
        output.print_note(f"{row.id}: {row.model} on {row.backend}")
        follow_job_progress(workspace, row, to_the_end=wait)
        row = workspace.job(row.id)
        if push is not None and row.status == "succeeded":
            output.print_note(f"pushing the weights to {push} ...")
            output.print_note(f"pushed: {push_job_to_hub(workspace, row.id, push)}")
        print_outcome_and_exit(workspace, row, proposal=proposal.as_dict())


def read_submit_arguments(given: Mapping[str, Any]) -> SubmitArguments:
    """Return the job that the parsed arguments ask for. Raises ConfigError if something is missing or contradictory."""
    from tuneport.data.dataset import Dataset
    from tuneport.data.rows.reading_options import READING_FIELDS
    from tuneport.lifecycle.submitting.spec_file import build_job_tune_spec, read_job_spec_values

    values: dict[str, Any] = {} if given["spec_file"] is None else read_job_spec_values(given["spec_file"])
    if given["dataset"] is not None:
        values["dataset"] = given["dataset"]
    values |= {flag.field: value for flag in SPEC_FLAGS if (value := _value(flag, given)) is not None}
    hold_out: HoldOut = "auto" if given["spec_file"] is None else None  # a file with a job says all of it
    if isinstance(values.get("validation"), float | bool):
        hold_out = values.pop("validation") or None
    for name, what in (("dataset", "training file: tuneport submit DATA"), ("model", "model: --model MODEL")):
        if values.get(name) is None:
            raise ConfigError(f"there is no {what}, or a file that has it: --spec FILE")
    reading = {name: values.pop(name) for name in READING_FIELDS if name in values}
    data = Dataset(values.pop("dataset"), **reading)
    options = {flag.field: value for flag in OPTION_FLAGS if (value := _value(flag, given)) is not None}
    spec = build_job_tune_spec(data, values)
    return SubmitArguments(spec, data, parse_or_config_error(JobOptions, options), given["backend"], hold_out)


def print_binding_terms(terms: list[BindingTerm]) -> None:
    if terms:
        output.print_note("Terms that apply (shown once):")
    for term in terms:
        output.print_note(f"  {term}")


def _value(flag: Flag, given: Mapping[str, Any]) -> Any:
    """Return a flag's value, as the spec or the options take it. Returns None if it was not given."""
    value = given[flag.field]
    off = flag.off is not None and given[_off(flag)]
    if value and off:
        raise ConfigError(f"{flag.flag} and {flag.off} say the opposite; give one of them")
    if off or flag.kind == "switch":
        return True if value else False if off else None
    if value is None or (isinstance(value, list | tuple) and not value):  # Typer: no pair is an empty one
        return None
    match flag.kind:
        case "columns":
            return parse_map_option(value)
        case "values":
            return parse_job_option_pairs(value, flag.flag)
        case "texts":
            return parse_job_option_texts(value, flag.flag)
        case "wandb":
            return parse_job_wandb_flag(value)
        case "path_or_share":
            share = parse_hold_out_share(value)
            return Path(value) if share is None else share
        case "template":
            return parse_template_flag(value)
        case "json_file":
            return _json_file(value, flag.flag)
    return value


def _json_file(path: Path, flag: str) -> Any:
    try:
        return decode_json(path.read_bytes())
    except (OSError, ValueError) as error:
        raise ConfigError(f"{flag} {path} cannot be read as JSON: {error}; correct the file") from error
