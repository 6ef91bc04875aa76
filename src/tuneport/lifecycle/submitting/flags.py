"""The flags of `tuneport submit`: one table, by which the command reads a job and `command` writes one.

A field of `TuneSpec` or `JobOptions` without a row here, or a row without a field, fails
tests/lifecycle/submitting/test_options.py.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from tuneport.errors import ConfigError
from tuneport.lifecycle.submitting.hold_out import held_out_by_default
from tuneport.lifecycle.submitting.options import JobOptions, OffFlag, job_option_off_flag
from tuneport.types import TuneSpec, Wandb
from tuneport.validation import decode_json

Kind = Literal[
    "text",
    "path",
    "path_or_share",
    "whole",
    "number",
    "columns",
    "texts",
    "values",
    "wandb",
    "json_file",
    "switch",
    "names",
    "template",
]
GRADER_FILE = "GRADER.json"
"""Stands in a printed command for a file with the job's grader."""


@dataclass(frozen=True)
class Flag:
    """One flag. `field` is the field of `TuneSpec` or `JobOptions` that it sets; `off` sets a switch to False."""

    field: str
    flag: str
    help: str
    kind: Kind = "text"
    metavar: str | None = None
    short: str | None = None
    off: str | None = None
    off_help: str = ""


SPEC_FLAGS = (
    Flag("model", "--model", "An alias, a weights name or a provider's model id.", short="-m"),
    Flag(
        "validation",
        "--validation",
        "A validation file, or the share of the rows to hold out. Default: 10% of 200 rows and more.",
        "path_or_share",
        "FILE|PERCENT%",
        off="--no-validation",
        off_help="Hold no rows out: train on all of them.",
    ),
    Flag("columns", "--map", "The column to read as the format's field NAME.", "columns", "NAME=COLUMN"),
    Flag("format", "--format", "The format of the files. Default: detected from the data."),
    Flag("system", "--system", "The system prompt of records that have none.", metavar="TEXT"),
    Flag(
        "template",
        "--template",
        "A file with the user's message, {column} in it for a column of the row; or that text itself.",
        "template",
        "FILE",
    ),
    Flag(
        "ignored_columns",
        "--ignore",
        "A column with training signal to leave out on purpose.",
        "names",
        "COLUMN",
    ),
    Flag("keep_unliked", "--keep-unliked", "sft: train on the answers that are marked as bad, too.", "switch"),
    Flag("inline_images", "--inline-images", "Read pictures that are named by a path into the rows.", "switch"),
    Flag("method", "--method", "sft, dpo, kto, reward, grpo, rloo or rft. Default: detected from the data."),
    Flag("grader", "--grader", "rft: a JSON file with the grader, in OpenAI's shape.", "json_file"),
    Flag(
        "reward",
        "--reward",
        "grpo, rloo: package.module:function, or a reward model by its job or as a folder.",
        metavar="REWARD",
    ),
    Flag(
        "reward_folder", "--reward-folder", "The folder with the reward function's module. Default: this one.", "path"
    ),
    Flag("adapter", "--adapter", "auto, lora, qlora, full, prefix or prompt."),
    Flag(
        "hyperparameters",
        "--set",
        "A hyperparameter: epochs, batch_size, learning_rate ... `--set help` lists them.",
        "values",
        "NAME=VALUE",
    ),
    Flag(
        "provider_defaults",
        "--provider-defaults",
        "Leave what is not set to the provider, instead of sending tuneport's recommendation.",
        "switch",
    ),
    Flag("suffix", "--suffix", "Suffix of the tuned model's name."),
    Flag("seed", "--seed", "Seed of the data order and of new weights.", "whole"),
    Flag(
        "from_checkpoint",
        "--from-checkpoint",
        "Continue from the weights of a finished job, or of one of its steps.",
        metavar="JOB[:STEP]",
    ),
    Flag(
        "wandb",
        "--wandb",
        "Show the run in this W&B project; or JSON with project, name, entity and tags.",
        "wandb",
        "PROJECT",
    ),
    Flag("budget", "--budget", "US dollars; refuse a job that may cost more.", "number"),
    Flag("metadata", "--metadata", "Metadata that the backend keeps with the job, as text.", "texts", "NAME=VALUE"),
    Flag(
        "provider_options",
        "--option",
        "Backend option, passed unchanged, e.g. precision=bf16. `--option help` lists them.",
        "values",
        "NAME=VALUE",
    ),
)


def _option_flags() -> tuple[Flag, ...]:
    flags = []
    for name, field in JobOptions.model_fields.items():
        flag, off = f"--{name.replace('_', '-')}", job_option_off_flag(name) or OffFlag(None, "")
        flags.append(Flag(name, flag, field.description or "", "switch", off=off.flag, off_help=off.help))
    return tuple(flags)


OPTION_FLAGS = _option_flags()


def parse_job_option_pairs(given: list[str] | None, option: str) -> dict[str, Any]:
    """Return `NAME=VALUE` arguments by name; a value that is JSON is parsed, any other is text."""
    found: dict[str, Any] = {}
    for name, value in parse_job_option_texts(given, option).items():
        try:
            found[name] = decode_json(value)
        except ValueError:
            found[name] = value
    return found


def parse_job_option_texts(given: list[str] | None, option: str) -> dict[str, str]:
    """Return `NAME=VALUE` arguments by name, each value as it is written."""
    found: dict[str, str] = {}
    for item in given or []:
        name, separator, value = item.partition("=")
        if not separator or not name:
            raise ConfigError(f"{option} {item!r} is not NAME=VALUE; write for example {option} epochs=3")
        found[name] = value
    return found


def parse_template_flag(given: str) -> str:
    """Return the text of `--template`: a file's, or the argument itself if it has a column in braces.

    Raises ConfigError for a file that cannot be read as text.
    """
    if "{" in given:
        return given
    try:
        return Path(given).read_text(encoding="utf-8").rstrip("\n")
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise ConfigError(
            f"--template {given} cannot be read: {reason}; give a text file with the names of columns in braces"
        ) from error


def parse_job_wandb_flag(given: str) -> dict[str, Any]:
    """Return the value of `--wandb`: a project, or JSON with all settings for W&B."""
    if not given.startswith("{"):
        return {"project": given}
    try:
        found = decode_json(given)
    except ValueError as error:
        raise ConfigError(f"--wandb {given!r} begins as JSON and is none: {error}; correct it") from error
    return dict(found)


def build_submit_command(spec: TuneSpec, options: JobOptions, *, backend: str | None) -> str:
    """Return the command to type for the spec and the options on that backend; `job_options_without_flag` names what it
    lacks."""
    words = ["tuneport", "submit", _path(spec.dataset)]
    for flag in SPEC_FLAGS:
        words += _words(flag, getattr(spec, flag.field), held_out_by_default(spec))
        if flag.field == "model" and backend is not None:
            words += ["--backend", backend]
    for flag in OPTION_FLAGS:
        value = getattr(options, flag.field)
        if value is True:
            words.append(flag.flag)
        elif value is False and flag.off is not None:
            words.append(flag.off)
    return shlex.join(words)


def job_options_without_flag(spec: TuneSpec) -> list[str]:
    """Return the names that no flag can express: pairs whose name is empty or has a `=`."""
    found = []
    for flag in SPEC_FLAGS:
        if flag.kind in ("columns", "texts", "values"):
            value = getattr(spec, flag.field)
            given = value if isinstance(value, Mapping) else value.given()
            found += [f"{flag.field}.{name}" for name, item in given.items() if not _sayable(flag, name, item)]
    return found


def _sayable(flag: Flag, name: str, value: Any) -> bool:
    return bool(name) and "=" not in name and (flag.kind != "columns" or bool(value))


def _words(flag: Flag, value: Any, held_out: bool) -> list[str]:
    """Return the flag with the value; nothing for a default that the command has by itself. `held_out`: it holds rows
    out by default."""
    field = TuneSpec.model_fields[flag.field]
    if value is None and flag.off is not None:  # else the command would hold rows out
        return [flag.off] if held_out else []
    if value is None or (flag.field != "method" and value == field.get_default(call_default_factory=True)):
        return []
    if flag.kind in ("columns", "texts", "values"):
        given = value if isinstance(value, Mapping) else value.given()
        said = [
            f"{name}={_text(item) if flag.kind == 'values' else item}"
            for name, item in given.items()
            if _sayable(flag, name, item)
        ]
        return [word for pair in said for word in (flag.flag, pair)]
    if flag.kind == "switch":
        return [flag.flag]
    if flag.kind in ("path", "path_or_share"):
        return [flag.flag, _path(value)]
    if flag.kind == "names":
        return [word for name in value for word in (flag.flag, name)]
    if flag.kind == "json_file":
        return [flag.flag, GRADER_FILE]
    if isinstance(value, Wandb):
        told = value.model_dump(mode="json", exclude_defaults=True)
        alone = set(told) == {"project"} and not value.project.startswith("{")
        return [flag.flag, value.project if alone else json.dumps(told, ensure_ascii=False)]
    return [flag.flag, str(value)]


def _text(value: Any) -> str:
    """Return a value as `pairs` reads it: JSON, or text that is no JSON."""
    if isinstance(value, str):
        try:
            decode_json(value)
        except ValueError:
            return value
    return json.dumps(value, ensure_ascii=False)


def _path(path: Any) -> str:
    """Return a path as an argument: one that begins like a flag is written from the current folder."""
    text = str(path)
    return f"./{text}" if text.startswith("-") else text
