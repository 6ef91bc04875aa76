"""A job's options are one list: every surface has them all, and says the same with them."""

from __future__ import annotations

import functools
import inspect
import json
import logging
import os
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import typer
from hypothesis import given, settings
from hypothesis import strategies as st

import tuneport
from tests.support.counted import COUNTED
from tests.support.workspaces import write_chats
from tuneport.cli.commands.submit import SubmitArguments, read_submit_arguments
from tuneport.cli.main import app
from tuneport.client_rules import ClientsMaySet, client_rule_of_field
from tuneport.errors import ConfigError
from tuneport.lifecycle.schema.tables import JobRow
from tuneport.lifecycle.service import JobService, describe_job
from tuneport.lifecycle.submitting.flags import (
    GRADER_FILE,
    OPTION_FLAGS,
    SPEC_FLAGS,
    build_submit_command,
    job_options_without_flag,
)
from tuneport.lifecycle.submitting.options import ClientOptions, JobOptions, OptionKeywords
from tuneport.lifecycle.submitting.spec_file import format_job_spec_file
from tuneport.lifecycle.verbs import log_job_terms
from tuneport.serve.wire.native import SubmitJob
from tuneport.types import Hyperparameters, Method, TuneSpec

SOURCE = Path(tuneport.__file__).parent
ALL = {*TuneSpec.model_fields, *JobOptions.model_fields}
LEFT_OUT_OF_THE_WIRE = {
    "dataset": "a client names an uploaded file: training_file",
    "validation": "a client names an uploaded file: validation_file",
    "inline_images": "reads files of the operator's machine",
    "reward_folder": "names a folder with code on the operator's machine",
    "allow_personal_data": "the operator answers for it: tuneport serve --allow-personal-data",
    "anyway": "a client's data is not held against the checks: whoever pays sees the report",
    "again": "a client names a request by its Idempotency-Key",
}
MOST_FILES = 6
MODEL = "gpt-4.1-mini-2025-04-14"


@functools.cache
def submit_command() -> Any:
    return typer.main.get_command(app).commands["submit"]  # type: ignore[attr-defined]


def parsed(line: str) -> SubmitArguments:
    words = shlex.split(line)
    assert words[:2] == ["tuneport", "submit"]
    return read_submit_arguments(submit_command().make_context("submit", words[2:]).params)


# --- one list --------------------------------------------------------------------------------------------------------


def test_python_takes_every_field_by_keyword() -> None:
    others = {"backend", "options", "confirm", "show_terms", "settings", "opened"}
    assert set(inspect.signature(tuneport.submit).parameters) == ALL | others
    assert set(OptionKeywords.__annotations__) == set(JobOptions.model_fields)


def test_the_command_line_has_a_flag_for_every_field() -> None:
    others = {
        "spec_file",
        "backend",
        "allow_large",
        "push",
        "yes",
        "wait",
        "json_",
        "epochs",
        "not_delete_files",
        "not_validation",
    }
    assert {parameter.name for parameter in submit_command().params} == ALL | others
    assert {flag.field for flag in (*SPEC_FLAGS, *OPTION_FLAGS)} == ALL - {"dataset"}


def test_the_wire_has_every_field_but_those_that_are_no_clients() -> None:
    others = {"training_file", "validation_file", "backend"}
    assert set(SubmitJob.model_fields) == (ALL - set(LEFT_OUT_OF_THE_WIRE)) | others
    of_clients = {
        name
        for name, field in JobOptions.model_fields.items()
        if isinstance(client_rule_of_field(field), ClientsMaySet)
    }
    assert set(ClientOptions.model_fields) == of_clients == set(JobOptions.model_fields) - set(LEFT_OUT_OF_THE_WIRE)


def test_the_store_has_a_column_for_every_option_but_consent() -> None:
    assert set(JobRow.__table__.columns.keys()) & set(JobOptions.model_fields) == set(ClientOptions.model_fields)


@pytest.mark.parametrize("name", ["stop_on_overfit", "cancel_over_budget"])
def test_few_files_know_an_option_by_name(name: str, record_property: Callable[[str, object], None]) -> None:
    """The list, the column, the command that sets it later, and what acts on it."""
    sources = [path for path in SOURCE.rglob("*.py") if "migrations" not in path.parts]
    knowing = sorted(str(path.relative_to(SOURCE)) for path in sources if name in path.read_text(encoding="utf-8"))
    record_property(COUNTED, f"{len(knowing)} source files, migrations left out: {', '.join(knowing)}")
    assert "lifecycle/submitting/options.py" in knowing and len(knowing) <= MOST_FILES, knowing


# --- the printed command ---------------------------------------------------------------------------------------------

TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=12)
NAMES = TEXT.filter(lambda name: bool(name) and "=" not in name)
VALUES = st.one_of(TEXT, st.integers(), st.booleans(), st.floats(allow_nan=False, allow_infinity=False), st.lists(TEXT))
NUMBERS = st.fixed_dictionaries(
    {},
    optional={
        "epochs": st.integers(1, 50),
        "learning_rate": st.floats(1e-9, 1),
        "warmup_ratio": st.floats(0, 0.99),
        "lora_rank": st.integers(1, 1024),
        "beta": st.floats(1e-9, 100),
        "reasoning_effort": st.sampled_from(["low", "medium", "high"]),
    },
)


@st.composite
def specs(draw: st.DrawFn) -> TuneSpec:
    method = draw(st.sampled_from(Method))
    maybe = st.one_of(st.none(), TEXT.filter(bool))
    values = {
        "model": draw(TEXT.filter(bool)),
        "dataset": Path("/data", draw(st.sampled_from(["a.jsonl", "with space.csv", "-x", "o'clock"]))),
        "validation": draw(st.sampled_from([None, Path("/data/b.jsonl"), Path("c.jsonl"), Path("-d.jsonl")])),
        "columns": draw(st.dictionaries(NAMES, TEXT.filter(bool), max_size=2)),
        "format": draw(st.sampled_from([None, "openai", "trl"])),
        "system": draw(maybe),
        "template": draw(st.one_of(st.none(), TEXT.map(lambda text: f"{text} {{question}}\n"))),
        "ignored_columns": tuple(draw(st.lists(TEXT, max_size=2))),
        "keep_unliked": draw(st.booleans()) if method is Method.SFT else False,
        "inline_images": draw(st.booleans()),
        "method": method,
        "grader": draw(st.dictionaries(TEXT, VALUES, max_size=2)) if method is Method.RFT else None,
        "reward": draw(TEXT.filter(bool)) if method.takes_reward else None,
        "reward_folder": draw(st.sampled_from([None, Path("/code")])),
        "adapter": draw(st.sampled_from(["auto", "lora", "full", "prefix"])),
        "hyperparameters": Hyperparameters.model_validate(draw(NUMBERS)),
        "suffix": draw(maybe),
        "seed": draw(st.one_of(st.none(), st.integers(0, 2**31 - 1))),
        "budget": draw(st.one_of(st.none(), st.floats(1e-6, 1e9))),
        "metadata": draw(st.dictionaries(NAMES, TEXT, max_size=2)),
        "from_checkpoint": draw(maybe),
        "wandb": draw(st.one_of(st.none(), st.fixed_dictionaries({"project": TEXT}, optional={"entity": TEXT}))),
        "provider_options": draw(st.dictionaries(NAMES, VALUES, max_size=2)),
    }
    return TuneSpec.model_validate(values)


@given(spec=specs(), options=st.builds(JobOptions), backend=st.sampled_from([None, "local", "together"]))
@settings(max_examples=50, deadline=None)
def test_the_printed_command_means_the_same_job(
    tmp_path_factory: pytest.TempPathFactory, spec: TuneSpec, options: JobOptions, backend: str | None
) -> None:
    folder = tmp_path_factory.getbasetemp()
    (folder / GRADER_FILE).write_text(json.dumps(spec.grader))
    before = Path.cwd()
    os.chdir(folder)
    try:
        asked = parsed(build_submit_command(spec, options, backend=backend))
    finally:
        os.chdir(before)
    assert (asked.spec, asked.options, asked.backend) == (spec, options, backend)
    assert job_options_without_flag(spec) == []


def test_pairs_that_no_flag_can_say_are_named(tmp_path: Path) -> None:
    spec = TuneSpec(model="m", dataset=tmp_path, metadata={"a=b": "1", "c": "2"}, columns={"x": ""})
    assert job_options_without_flag(spec) == ["columns.x", "metadata.a=b"]
    assert parsed(build_submit_command(spec, JobOptions(), backend=None)).spec.metadata == {"c": "2"}


# --- what the surfaces do with it ------------------------------------------------------------------------------------


def test_a_spec_file_is_submitted_and_flags_replace_its_values(tmp_path: Path) -> None:
    write_chats(tmp_path / "train.jsonl")
    file = tmp_path / "spec.toml"
    values = {"model": "m", "dataset": "train.jsonl", "hyperparameters": {"epochs": 3}, "metadata": {"ticket": "7"}}
    file.write_text(format_job_spec_file(values))
    asked = parsed(f"tuneport submit --spec {file}")
    assert asked.spec.dataset == tmp_path / "train.jsonl" and asked.spec.method is Method.SFT
    assert asked.spec.hyperparameters.epochs == 3 and asked.spec.metadata == {"ticket": "7"}
    other = parsed(f"tuneport submit other.jsonl --spec {file} --model n --method sft --set epochs=1 --budget 2")
    assert (other.spec.model, str(other.spec.dataset), other.spec.hyperparameters.epochs) == ("n", "other.jsonl", 1)
    assert other.spec.budget == 2 and other.spec.metadata == {"ticket": "7"}
    with pytest.raises(ConfigError, match="there is no model: --model MODEL"):
        parsed("tuneport submit other.jsonl")
    file.write_text('modle = "m"\ndataset = "train.jsonl"\nmodel = "m"\n')
    with pytest.raises(ConfigError, match="modle"):
        parsed(f"tuneport submit --spec {file}")
    with pytest.raises(ConfigError, match="say the opposite"):
        parsed("tuneport submit a.jsonl --model m --delete-files --keep-files")


def test_python_submits_a_spec_with_options_that_keywords_replace(
    isolated: Path,
) -> None:
    spec = TuneSpec(model="base", dataset=write_chats(isolated / "train.jsonl"), suffix="mine")
    options = JobOptions(delete_files=True, stop_on_overfit=True)
    told = tuneport.submit(
        spec, backend="fake", options=options, stop_on_overfit=False, confirm=False, anyway=True
    ).as_dict()
    assert told["delete_files"] and not told["stop_on_overfit"] and told["suffix"] == "mine"
    with pytest.raises(ConfigError, match="the spec has its own suffix"):
        tuneport.submit(spec, backend="fake", suffix="x")  # type: ignore[call-overload]
    with pytest.raises(TypeError, match="'colour'"):
        tuneport.submit(spec.dataset, model="base", colour="red")  # type: ignore[call-overload]
    with pytest.raises(TypeError, match="'model'"):
        tuneport.submit(spec.dataset)  # type: ignore[call-overload]
    with pytest.raises(ConfigError, match="there is no budget"):
        tuneport.submit(spec, backend="fake", cancel_over_budget=True)


def test_terms_are_logged_before_the_first_job_and_not_again(
    isolated: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from tuneport.testing.emulators import OpenAIEmulator

    dataset = write_chats(isolated / "train.jsonl")
    with OpenAIEmulator() as openai:
        monkeypatch.setenv("TUNEPORT_OPENAI_BASE_URL", openai.base_url)
        monkeypatch.setenv("OPENAI_API_KEY", openai.key)
        with caplog.at_level(logging.WARNING, logger="tuneport"):
            job = tuneport.submit(dataset, model=MODEL, backend="openai", confirm=False, anyway=True, again=True)
            with JobService() as again:
                again.submit(TuneSpec(model=MODEL, dataset=dataset), backend="openai", show_terms=log_job_terms)
    told = [record.getMessage() for record in caplog.records if "terms that apply" in record.getMessage()]
    terms = job.as_dict()["terms"]
    assert terms and len(told) == len(terms)
    assert all(term["text"] in line and term["url"] in line for term, line in zip(terms, told, strict=True))


def test_options_of_a_row_are_those_it_was_added_with(workspace: JobService, tmp_path: Path) -> None:
    chats = write_chats(tmp_path / "a.jsonl")
    spec = TuneSpec(model="base", dataset=chats, validation=chats)
    row = workspace.submit(spec, backend="fake", delete_files=True, stop_on_overfit=True, allow_personal_data=True)
    options = JobOptions(delete_files=True, stop_on_overfit=True)
    assert row.job_options == options and row.delete_files and row.stop_on_overfit and not row.cancel_over_budget
    assert describe_job(row).items() >= options.columns().items()
