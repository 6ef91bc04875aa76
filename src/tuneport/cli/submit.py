"""submit: one call, any backend."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tuneport.cli import output
from tuneport.cli.following import finish, follow
from tuneport.cli.job_costs import time_line
from tuneport.cli.mapping import Map, columns_of
from tuneport.errors import ConfigError

if TYPE_CHECKING:
    from tuneport.jobs.terms import BindingTerm

Json = output.Json


def register(app: typer.Typer) -> None:
    app.command()(submit)


def submit(
    dataset: Annotated[Path, typer.Argument(metavar="DATA", help="The training file.", show_default=False)],
    model: Annotated[str, typer.Option("--model", "-m", help="An alias, a weights name or a provider's model id.")],
    backend: Annotated[
        str | None,
        typer.Option("--backend", "-b", help="Default: tuneport.toml, else the best."),
    ] = None,
    validation: Annotated[Path | None, typer.Option(help="A validation file.")] = None,
    map_: Map = None,
    method: Annotated[
        str | None, typer.Option(help="sft, dpo, kto, reward, grpo, rloo or rft. Default: as the data is.")
    ] = None,
    grader: Annotated[Path | None, typer.Option(help="rft: a JSON file with the grader, in OpenAI's shape.")] = None,
    reward: Annotated[
        str | None,
        typer.Option(
            metavar="REWARD", help="grpo, rloo: package.module:function, or a reward model by its job or as a folder."
        ),
    ] = None,
    adapter: Annotated[str, typer.Option(help="auto, lora, qlora, full, prefix or prompt.")] = "auto",
    set_: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="NAME=VALUE",
            help="A hyperparameter: epochs, batch_size, learning_rate ...",
        ),
    ] = None,
    suffix: Annotated[str | None, typer.Option(help="Goes into the tuned model's name.")] = None,
    seed: Annotated[int | None, typer.Option(help="For the order of the data and new weights.")] = None,
    from_checkpoint: Annotated[
        str | None, typer.Option(metavar="JOB[:STEP]", help="Go on from the weights of a finished job, or of its step.")
    ] = None,
    wandb: Annotated[str | None, typer.Option(metavar="PROJECT", help="Show the run in this W&B project.")] = None,
    budget: Annotated[float | None, typer.Option(help="US dollars; refuse a job that may cost more.")] = None,
    cancel_over_budget: Annotated[
        bool, typer.Option("--cancel-over-budget", help="Cancel it as soon as it is on its way above --budget.")
    ] = False,
    stop_on_overfit: Annotated[
        bool, typer.Option("--stop-on-overfit", help="Stop it once it surely overfits, and keep its best checkpoint.")
    ] = False,
    option: Annotated[
        list[str] | None,
        typer.Option("--option", metavar="NAME=VALUE", help="Passed on as it is, e.g. precision=bf16."),
    ] = None,
    delete_files: Annotated[
        bool, typer.Option("--delete-files", help="When the job has ended, delete at the provider what was uploaded.")
    ] = False,
    keep_files: Annotated[bool, typer.Option("--keep-files", help="Do not, whatever tuneport.toml says.")] = False,
    allow_personal_data: Annotated[
        bool, typer.Option("--allow-personal-data", help="Upload personal data to a third party.")
    ] = False,
    push: Annotated[
        str | None,
        typer.Option("--push-to-hub", metavar="OWNER/NAME", help="With --wait: then put the weights on the model hub."),
    ] = None,
    wait: Annotated[bool, typer.Option("--wait", help="Follow the job to its end.")] = False,
    json_: Json = False,
) -> None:
    """Start a fine-tuning job on any backend: [bold]tuneport submit train.jsonl --model llama-3.1-8b-instruct[/bold]"""
    from tuneport.data.prepare import method_of
    from tuneport.jobs.hub import check_repository, push_job
    from tuneport.jobs.service import Workspace
    from tuneport.types import Hyperparameters, TuneSpec, validated

    if delete_files and keep_files:
        raise ConfigError("--delete-files and --keep-files say the opposite; give one of them")
    if push is not None and not wait:
        raise ConfigError(
            "--push-to-hub needs --wait, since the trainer has no key; or push later: tuneport download JOB "
            "--push-to-hub OWNER/NAME"
        )
    columns = columns_of(map_)
    values: dict[str, Any] = {
        "model": model,
        "dataset": dataset,
        "validation": validation,
        "columns": columns,
        "method": method or ("rft" if grader else "grpo" if reward else method_of(dataset, columns=columns)),
        "grader": None if grader is None else _grader(grader),
        "reward": reward,
        "adapter": adapter,
        "hyperparameters": validated(Hyperparameters, pairs(set_, "--set")),
        "suffix": suffix,
        "seed": seed,
        "from_checkpoint": from_checkpoint,
        "wandb": None if wandb is None else {"project": wandb},
        "budget": budget,
        "provider_options": pairs(option, "--option"),
    }
    terms: list[BindingTerm] = []
    with Workspace() as workspace:
        if push is not None:
            check_repository(push, workspace.settings)
        spec = validated(TuneSpec, values)
        row = workspace.submit(
            spec,
            backend=backend,
            allow_personal_data=allow_personal_data,
            delete_files=True if delete_files else False if keep_files else None,
            cancel_over_budget=cancel_over_budget,
            stop_on_overfit=stop_on_overfit,
            show_terms=terms.extend,
        )
        output.note(f"{row.id}: {row.model} on {row.backend}")
        if (expected := time_line(row)) is not None:
            output.note(f"time: {expected}")
        show_terms(terms)  # nothing is uploaded yet: Ctrl-C and `tuneport cancel` leave no trace over there
        follow(workspace, row, to_the_end=wait)
        row = workspace.job(row.id)
        if push is not None and row.status == "succeeded":
            output.note(f"pushing the weights to {push} ...")
            output.note(f"pushed: {push_job(workspace, row.id, push)}")
        finish(workspace, row)


def show_terms(terms: list[BindingTerm]) -> None:
    if terms:
        output.note("what binds you here (shown once, before the first job):")
    for term in terms:
        output.note(f"  {term}")


def _grader(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"--grader {path} cannot be read as JSON: {error}; correct the file") from error


def pairs(given: list[str] | None, option: str) -> dict[str, Any]:
    pairs: dict[str, Any] = {}
    for item in given or []:
        name, separator, value = item.partition("=")
        if not separator or not name:
            raise ConfigError(f"{option} {item!r} is not NAME=VALUE; write for example {option} epochs=3")
        try:
            pairs[name] = json.loads(value)
        except ValueError:
            pairs[name] = value
    return pairs
