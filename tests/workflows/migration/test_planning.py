"""What a job becomes elsewhere: each setting explained, no model chosen for anybody, and what stands in the way."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from tests.support.accounts import LLAMA, MINI, SMALL, Account
from tests.support.folders import FIXTURES
from tests.support.tiny import write_rows
from tuneport.cli.views.migration import print_migration_total, print_move_plan
from tuneport.data.reading import SAMPLE_ROWS
from tuneport.errors import BudgetError, ConfigError
from tuneport.manifests import load_manifest
from tuneport.router import BackendChoiceTokens, DatasetFacts
from tuneport.settings import ProjectFile, Settings
from tuneport.types import Adapter, Hyperparameters, JobState, JobStatus, Method, TuneSpec
from tuneport.workflows.migrate import Migration
from tuneport.workflows.migration.effect import OldTraining
from tuneport.workflows.migration.model_mapping import known_migration_target, suggest_migration_replacements
from tuneport.workflows.migration.origin import MigrationSourceJob, read_source_job
from tuneport.workflows.migration.plan import (
    MigrationMovePlan,
    limit_migration_budget,
    parse_migration_data_options,
    total_migration_quote,
)
from tuneport.workflows.migration.setting import MigratedSetting
from tuneport.workflows.migration.translation import translate_migrated_spec

TODAY = date(2026, 11, 24)
UNKNOWN = OldTraining(None, None, None, rows=100)
TRAIN = FIXTURES / "datasets" / "support_intents.train.jsonl"


@pytest.fixture
def saved(account: Account, opened: Callable[..., Migration]) -> Migration:
    migration = opened()
    migration.save()
    return migration


def plans_of(migration: Migration, account: Account, to: str, **options: Any) -> dict[str, MigrationMovePlan]:
    names = {job_id: name for name, job_id in account.jobs.items()}
    return {names[plan.job.id]: plan for plan in migration.plan(to, today=TODAY, **options)}


def told(plan: MigrationMovePlan) -> dict[str, MigratedSetting]:
    return {line.name: line for line in plan.lines}


def test_a_plan_explains_every_setting(account: Account, saved: Migration) -> None:
    plans = plans_of(saved, account, "together", models=[LLAMA], data={account.jobs["gone"]: account.copy})
    assert {plan.state for plan in plans.values()} == {"ready"}
    lines = told(plans["held_out"])
    assert lines["epochs"].fate == "same" and lines["epochs"].new == "3"
    assert lines["learning_rate_multiplier"].new == "learning rate 5e-05"
    assert lines["learning_rate_multiplier"].why == (
        "2 is what OpenAI picks itself; tuneport's rate for lora of 8 B parameters at batch 1"
    )
    assert (lines["batch_size"].old, lines["batch_size"].new) == ("1", "1")
    assert lines["batch_size"].why == "Together.ai counts sequences; one example each"
    assert (lines["steps"].old, lines["steps"].new, lines["steps"].why) == ("300", "300", "")
    spec = plans["held_out"].spec
    assert spec is not None and spec.seed == 7 and spec.suffix == "support"
    assert spec.hyperparameters.given() == {
        "epochs": 3, "batch_size": 1, "packing": False, "max_length": 1024, "learning_rate": 5e-5,
    }  # fmt: skip
    assert spec.metadata == {
        "team": "blue",
        "migrated_from": account.jobs["held_out"],
        "migrated_from_backend": "openai",
    }
    dpo = plans["dpo"].spec
    assert dpo is not None and dpo.method is Method.DPO and dpo.hyperparameters.beta == 0.2
    training = plans["held_out"].training
    assert training is not None and training.format == "together" and training.rows == 100
    assert total_migration_quote(list(plans.values())) == (12.0, 12.0, 0)  # Together's minimum, three times
    assert any("exactly as billed" in note for note in plans["gone"].notes)
    assert account.together.jobs_created == 0 and not account.together.files


def test_no_model_is_chosen_for_anybody(account: Account, saved: Migration) -> None:
    plans = plans_of(saved, account, "together")
    plan = plans["held_out"]
    assert plan.state == "stopped" and plan.spec is None
    assert len(plan.model.suggestions) == 3
    assert all("to train" in suggestion.reason for suggestion in plan.model.suggestions)
    assert f"--model {MINI}={plan.model.suggestions[0].name}" in plan.problems[0]
    both = plans_of(saved, account, "together", models=[f"{MINI}={LLAMA}", "qwen3-8b"])
    assert both["held_out"].model.name == LLAMA and both["gone"].model.name == "qwen3-8b"
    wrong = plans_of(saved, account, "together", models=["llama-3.1-8b-instrukt"])
    assert "did you mean " in wrong["dpo"].problems[0] and wrong["dpo"].state == "stopped"


def test_what_the_project_says_stands_in() -> None:
    def settings(**models: dict[str, str]) -> Settings:
        return Settings(home=Path("/nowhere"), project=ProjectFile(models=models))

    together, local = load_manifest("together"), load_manifest("local")
    direct = settings(**{MINI: {"together": LLAMA}})
    assert known_migration_target(MINI, "openai", together, direct) == (
        LLAMA,
        f'tuneport.toml: [models."{MINI}"] together = "{LLAMA}"',
    )
    by_name = settings(**{"gpt-4.1-mini": {"together": LLAMA}})
    assert (known_migration_target(MINI, "openai", together, by_name) or "")[0] == LLAMA
    bot = settings(bot={"openai": "gpt-4.1-mini", "together": LLAMA})
    name, reason = known_migration_target(MINI, "openai", together, bot) or ("", "")
    assert name == LLAMA and "[models.bot]" in reason
    torn = settings(bot={"openai": MINI, "together": LLAMA}, other={"openai": MINI, "together": "qwen3-8b"})
    assert known_migration_target(MINI, "openai", together, torn) is None
    # The demonstration's own alias decides nothing for anybody else.
    assert known_migration_target(MINI, "openai", together, settings()) is None
    reference = "meta-llama/Meta-Llama-3.1-8B-Instruct-Reference"
    assert known_migration_target(reference, "together", local, settings()) == (LLAMA, "the same weights")


def test_suggestions_can_run_the_job_and_say_why(settings: Settings) -> None:
    together = load_manifest("together")
    dataset = DatasetFacts(rows=100, tokens=lambda manifest, model: BackendChoiceTokens(10_000, longest=200))
    spec = TuneSpec(model="", dataset=TRAIN, method=Method.DPO)
    found = suggest_migration_replacements(spec, MINI, "openai", together, settings, dataset, TODAY)
    offered = {row.id: row for row in together.models}
    assert len(found) == 3
    for suggestion in found:
        assert suggestion.choice.model and "dpo" in offered[suggestion.choice.model].methods
    long = DatasetFacts(rows=100, tokens=lambda manifest, model: BackendChoiceTokens(10_000, longest=10**7))
    shown = DatasetFacts(rows=100, image_rows=1, tokens=dataset.tokens)
    for suggestion in suggest_migration_replacements(spec, MINI, "openai", together, settings, shown, TODAY):
        assert offered[suggestion.choice.model or ""].takes_images
    for suggestion in suggest_migration_replacements(spec, MINI, "openai", together, settings, long, TODAY):
        assert offered[suggestion.choice.model or ""].context_for("dpo") is None  # where it is known, it is too short


def test_a_lost_training_file_stops_only_its_job(account: Account, saved: Migration) -> None:
    plans = plans_of(saved, account, "together", models=[LLAMA])
    assert {name: plan.state for name, plan in plans.items()} == {
        "dpo": "ready",
        "held_out": "ready",
        "gone": "stopped",
    }
    (problem,) = plans["gone"].problems
    assert "deleted there" in problem and f"--data {account.jobs['gone']}=FILE" in problem
    account.copy.write_bytes(b"".join(account.copy.read_bytes().splitlines(keepends=True)[:-1]))
    other = plans_of(saved, account, "together", models=[LLAMA], data={account.jobs["gone"]: account.copy})
    assert any("may not be the file that was used" in note for note in other["gone"].notes)


def test_personal_data_and_losses_stop_as_in_a_submit(
    account: Account, saved: Migration, tmp_path: Path, opened: Callable[..., Migration]
) -> None:
    rows = [
        {
            "messages": [
                {"role": "user", "name": "anna", "content": f"Write to jane.doe{number}@gmail.com"},
                {"role": "assistant", "content": "Done."},
            ],
            "parallel_tool_calls": False,
        }
        for number in range(12)
    ]
    data = tmp_path / "personal.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    given: dict[str, Any] = {"models": [LLAMA], "jobs": [account.jobs["gone"]], "data": {account.jobs["gone"]: data}}
    plan = plans_of(saved, account, "together", **given)["gone"]
    assert plan.losses and plan.training is None
    assert "the training file: converting to together would lose data" in plan.problems[0]
    assert "pass --allow-loss" in plan.problems[0]
    plan = plans_of(saved, account, "together", allow_loss=True, **given)["gone"]
    assert "personal data (12 places; email in record 1)" in plan.problems[0]
    assert "third party" in plan.problems[0]
    plan = plans_of(saved, account, "together", allow_loss=True, allow_personal_data=True, **given)["gone"]
    assert plan.state == "ready" and plan.losses and plan.spec is not None
    assert saved.folder is not None and plan.spec.dataset.is_relative_to(saved.folder.path)
    assert plans_of(saved, account, "fake", **given)["gone"].state == "ready"  # nothing leaves the machine


def test_files_of_the_same_name_stay_apart_when_they_are_converted(
    account: Account, saved: Migration, tmp_path: Path
) -> None:
    copies = {}
    for name in ("gone", "held_out"):
        rows = [
            {
                "messages": [
                    {"role": "user", "name": "anna", "content": f"{name} {number}?"},
                    {"role": "assistant", "content": "Done."},
                ],
                "parallel_tool_calls": False,
            }
            for number in range(12)
        ]
        (tmp_path / name).mkdir()
        copies[account.jobs[name]] = write_rows(tmp_path / name / "train.jsonl", rows)
    plans = plans_of(saved, account, "together", models=[LLAMA], data=copies, allow_loss=True)
    for name in ("gone", "held_out"):
        spec = plans[name].spec
        assert spec is not None and plans[name].losses
        assert f"{name} 11?" in spec.dataset.read_text(), "each job is trained on its own data"


def test_budget_columns_and_the_start_of_a_spec_file_are_kept_or_told(
    account: Account, saved: Migration, tmp_path: Path
) -> None:
    assert saved.folder is not None
    id = account.jobs["held_out"]
    path = saved.folder.job_folder(id) / "spec.toml"
    mine = 'budget = 4.5\nfrom_checkpoint = "ftjob-0"\ncolumns = { prompt = "question", completion = "reply" }\n'
    path.write_text(mine + path.read_text())
    rows = [{"question": f"Number {number}?", "reply": f"Answer {number}."} for number in range(12)]
    copy = write_rows(tmp_path / "mapped.jsonl", rows)
    plan = plans_of(saved, account, "together", models=[LLAMA], data={id: copy}, jobs=[id])["held_out"]
    assert plan.state == "ready" and plan.spec is not None and plan.training is not None, plan.problems
    assert plan.training.rows == 12 and plan.validation_rows == 12
    assert plan.spec.budget == 4.5 and plan.spec.columns == {"prompt": "question", "completion": "reply"}
    assert plan.spec.from_checkpoint is None
    lines = told(plan)
    assert lines["from_checkpoint"].fate == "dropped" and "starts from a base model" in lines["from_checkpoint"].why
    assert (lines["budget"].new, lines["columns"].fate) == ("$4.50", "same")
    limit_migration_budget([plan], 100)
    assert plan.spec.budget == 4.5, "the smaller one holds"
    path.write_text(path.read_text().replace("budget = 4.5", "budget = 0.5"))
    plan = plans_of(saved, account, "together", models=[LLAMA], data={id: copy}, jobs=[id])["held_out"]
    assert plan.state == "stopped" and "budget" in plan.problems[0]


def test_with_columns_a_loss_converts_both_files(account: Account, saved: Migration, tmp_path: Path) -> None:
    assert saved.folder is not None
    id = account.jobs["held_out"]
    path = saved.folder.job_folder(id) / "spec.toml"
    path.write_text('columns = { messages = "turns" }\n' + path.read_text())
    turns = [{"role": "user", "name": "anna", "content": "Hi"}, {"role": "assistant", "content": "Done."}]
    lossy = write_rows(tmp_path / "lossy.jsonl", [{"turns": turns, "parallel_tool_calls": False}] * 12)
    given: dict[str, Any] = {"models": [LLAMA], "data": {id: lossy}, "jobs": [id], "allow_loss": True}
    spec = plans_of(saved, account, "together", **given)["held_out"].spec
    assert spec is not None and spec.columns == {} and spec.validation is not None
    assert [file.parent.name for file in (spec.dataset, spec.validation)] == ["converted"] * 2


def test_a_reinforcement_dataset_is_read_as_one(account: Account, saved: Migration, tmp_path: Path) -> None:
    assert saved.folder is not None
    id = account.jobs["gone"]
    path = saved.folder.job_folder(id) / "spec.toml"
    kept = [line for line in path.read_text().splitlines() if not line.startswith(("method", "dataset"))]
    grader = '{ type = "string_check", name = "g", input = "{{sample.output_text}}", reference = "yes",'
    path.write_text(f'method = "rft"\ngrader = {grader} operation = "eq" }}\n' + "\n".join(kept))
    asked = {"role": "user", "content": "Number?"}
    several = {"messages": [asked, {"role": "assistant", "content": "Which?"}, asked], "answer": "1"}
    # So many conversations of several turns at the beginning look like chats; the last row is none.
    rows = [several] * SAMPLE_ROWS + [{"messages": [asked], "answer": "1"}]
    copy = write_rows(tmp_path / "graded.jsonl", rows)
    given: dict[str, Any] = {"models": ["o4-mini-2025-04-16"], "data": {id: copy}, "jobs": [id]}
    plan = plans_of(saved, account, "openai", **given)["gone"]
    assert plan.training is not None and plan.training.rows == len(rows), plan.problems


def test_a_job_of_together_that_went_on_from_another_says_so(saved: Migration) -> None:
    state = JobState(
        remote_id="ft-1",
        status=JobStatus.SUCCEEDED,
        raw_status="completed",
        model="m",
        details={"from_checkpoint": "ft-0:3"},
    )
    source = read_source_job("together", state)
    old = TuneSpec(model="m", dataset=TRAIN)
    _, lines = translate_migrated_spec(source, old, saved.workspace.backend("openai"), None, UNKNOWN)
    (line,) = [line for line in lines if line.name == "from_checkpoint"]
    assert (line.old, line.fate, line.why) == ("ft-0:3", "dropped", "the new job starts from a base model")


def job(backend: str = "together", **values: Any) -> MigrationSourceJob:
    return MigrationSourceJob(
        backend=backend, id="ft-1", status=JobStatus.SUCCEEDED, raw_status="completed", model="m", **values
    )


def test_what_a_backend_cannot_take_has_no_equivalent(saved: Migration) -> None:
    old = TuneSpec(
        model="m",
        dataset=TRAIN,
        adapter=Adapter.LORA,
        suffix="x" * 60,
        hyperparameters=Hyperparameters(epochs=60, learning_rate=1e-4, lora_rank=8, warmup_ratio=0.1),
    )
    openai = saved.workspace.backend("openai")
    spec, lines = translate_migrated_spec(job(other={"packing": True}), old, openai, None, UNKNOWN)
    fates = {line.name: (line.fate, line.why) for line in lines}
    assert {name for name, (fate, _) in fates.items() if fate == "dropped"} == {
        "epochs", "learning_rate", "lora_rank", "warmup_ratio", "adapter", "packing",
    }  # fmt: skip
    assert "1 to 50" in fates["epochs"][1] and "does not publish" in fates["learning_rate"][1]
    assert spec.hyperparameters.given() == {} and spec.adapter == "auto" and spec.suffix == "x" * 60
    openai.check(spec)

    together = saved.workspace.backend("together")
    spec, lines = translate_migrated_spec(job("openai"), old, together, None, UNKNOWN)
    assert spec.suffix == "x" * 40 and {line.name: line.fate for line in lines}["suffix"] == "changed"


def test_metadata_gives_way_to_where_the_job_comes_from(saved: Migration) -> None:
    many = {f"key{number}": "value" for number in range(16)}
    old = TuneSpec(model="m", dataset=TRAIN, metadata=many)
    spec, _ = translate_migrated_spec(job(), old, saved.workspace.backend("openai"), None, UNKNOWN)
    assert len(spec.metadata) == 15 and spec.metadata["migrated_from"] == "ft-1"


def test_from_the_saved_folder_the_account_is_not_asked(
    account: Account, opened: Callable[..., Migration], tmp_path: Path
) -> None:
    opened().save(tmp_path / "backup")
    asked = len(account.openai.log)
    migration = opened(None, saved=tmp_path / "backup")
    spec = tmp_path / "backup" / "jobs" / account.jobs["held_out"] / "spec.toml"
    spec.write_text(spec.read_text().replace("epochs = 3", "epochs = 4").replace(MINI, LLAMA))
    plans = plans_of(migration, account, "together", models=[f"{SMALL}={LLAMA}"])
    assert told(plans["held_out"])["epochs"].new == "4"
    assert plans["held_out"].model.reason == "as spec.toml says" and plans["held_out"].state == "ready"
    assert len(account.openai.log) == asked
    with pytest.raises(ConfigError, match="a saved folder is used instead of the account"):
        migration.inventory()


def test_plans_fit_80_columns(account: Account, saved: Migration) -> None:
    written = io.StringIO()
    console = Console(file=written, width=80, highlight=False)
    plans = plans_of(saved, account, "together", models=[f"{MINI}={LLAMA}"])
    for plan in plans.values():
        print_move_plan(plan, console)
    print_migration_total(list(plans.values()), "together", console)
    text = written.getvalue()
    assert max(map(len, text.splitlines())) <= 80
    for job_id in account.jobs.values():
        assert f"{job_id}\n" in text
    assert "2 jobs ready for together: $8.00; 1 cannot start yet" in text
    assert text.count("https://together.ai/pricing") == 1


def test_a_budget_holds_for_all_jobs_together(account: Account, saved: Migration) -> None:
    plans = list(plans_of(saved, account, "together", models=[LLAMA]).values())
    with pytest.raises(BudgetError, match=r"2 jobs would cost up to \$8.00, above the budget of \$7.00"):
        limit_migration_budget(plans, 7)
    limit_migration_budget(plans, 10)
    budgets = [plan.spec.budget for plan in plans if plan.state == "ready" and plan.spec is not None]
    assert budgets == [5, 5]
    unknown = list(plans_of(saved, account, "openai", models=[MINI]).values())
    with pytest.raises(BudgetError, match="unknown"):
        limit_migration_budget(unknown, 100)


def test_what_went_on_from_a_tuned_model_starts_from_a_base(saved: Migration) -> None:
    continued = job("openai").model_copy(update={"model": f"ft:{MINI}:org:name:12345678"})
    assert continued.base_model == MINI and job("openai").base_model == "m"
    azure = job("azure").model_copy(update={"model": f"{MINI}.ft-0123456789abcdef-name"})
    assert azure.base_model == MINI


def test_options_that_make_no_sense_are_refused(tmp_path: Path, saved: Migration, account: Account) -> None:
    with pytest.raises(ConfigError, match="--data 'ftjob' is not ID=FILE"):
        parse_migration_data_options(["ftjob"], "--data")
    with pytest.raises(ConfigError, match="is not in"):
        saved.plan("together", jobs=["ftjob-nobody"])
    with pytest.raises(ConfigError, match="there is no backend 'nowhere'"):
        saved.plan("nowhere")
