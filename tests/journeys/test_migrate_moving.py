"""Jobs are started elsewhere once each, whatever happens on the way, and compared with what they replace."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.accounts import LLAMA, MINI, SMALL, Account, chats, finished, killed_when
from tests.support.tiny import tiny_model
from tuneport.cli.main import main
from tuneport.lifecycle.service import JobService
from tuneport.types import JobStatus, TuneSpec
from tuneport.workflows.migrate import Migration
from tuneport.workflows.migration.comparison import compare_moved_models, comparison_prompts


def arguments(account: Account, *more: str) -> list[str]:
    lost = f"{account.jobs['gone']}={account.copy}"
    return ["--from", "openai", "--to", "together", "--model", LLAMA, "--data", lost, *more]


def moved(account: Account) -> dict[str, str]:
    """The old jobs' names to the models' at Together: each exactly once."""
    suffixes = [str(job.request["suffix"]).rsplit("-tp", 1)[0] for job in account.together.jobs.values()]
    assert sorted(suffixes) == ["faq", "polite", "support"], suffixes
    assert account.together.jobs_created == 3
    return {name: job.output_name for name, job in zip(suffixes, account.together.jobs.values(), strict=True)}


def test_three_jobs_move_and_their_models_are_compared(account: Account, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["migrate", *arguments(account, "--json")]) == 0
    plan_only = json.loads(capsys.readouterr().out)
    assert [plan["state"] for plan in plan_only["plans"]] == ["ready"] * 3 and account.together.jobs_created == 0
    assert main(["migrate", *arguments(account, "--yes", "--wait", "--json")]) == 0
    document = json.loads(capsys.readouterr().out)
    models = moved(account)
    assert [job["status"] for job in document["jobs"]] == ["succeeded"] * 3
    assert {job["tuned_model"] for job in document["jobs"]} == set(models.values())
    dpo = next(job for job in account.together.jobs.values() if str(job.request["suffix"]).startswith("polite"))
    assert dpo.request["training_method"].items() >= {"method": "dpo", "dpo_beta": 0.2}.items()
    assert dpo.request["n_epochs"] == 2 and dpo.request["learning_rate"] == 1e-5
    held_out = next(job for job in account.together.jobs.values() if str(job.request["suffix"]).startswith("support"))
    assert held_out.validation is not None and len(held_out.training.rows) == 100

    shown = {plan["job"]: {line["setting"]: line["new"] for line in plan["settings"]} for plan in plan_only["plans"]}
    for name, job in (("dpo", dpo), ("held_out", held_out)):
        told = shown[account.jobs[name]]["learning_rate_multiplier"]
        assert told == f"learning rate {job.request['learning_rate']:.3g}"
        assert shown[account.jobs[name]]["steps"] == str(job.total_steps)
    assert (dpo.total_steps, held_out.total_steps) == (40, 300), "as many as at OpenAI: 20 pairs twice, 100 rows thrice"

    compared = {row["job"]: row for row in document["comparisons"]}
    row = compared[account.jobs["held_out"]]
    # Six of the held-out prompts are training prompts, to which both emulated models know the answer.
    assert (row["rows"], row["of"]) == (12, 12)
    assert row["old"]["correct"] == row["new"]["correct"] == 6 and row["agreement"]["correct"] == 12
    assert 0.2 < row["new"]["low"] < 0.5 < row["new"]["high"] < 0.8
    assert compared[account.jobs["gone"]]["note"].startswith("no validation file")

    # Once more: the same jobs, nothing new, no upload.
    uploads = len(account.together.files)
    assert main(["migrate", *arguments(account, "--yes", "--wait", "--json")]) == 0
    again = json.loads(capsys.readouterr().out)
    assert [job["id"] for job in again["jobs"]] == [job["id"] for job in document["jobs"]]
    assert moved(account) == models and len(account.together.files) == uploads


def test_without_yes_nothing_is_started(account: Account, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["migrate", *arguments(account)]) == 0
    out, error = capsys.readouterr()
    assert "3 jobs ready for together: $12.00" in out and "nothing new was started; --yes starts it" in error
    assert account.together.jobs_created == 0 and not account.together.files


def test_one_job_that_cannot_move_leaves_the_others(account: Account, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["migrate", "--from", "openai", "--to", "together", "--model", LLAMA, "--yes"]) == 2
    assert account.together.jobs_created == 2
    assert "1 cannot start yet" in capsys.readouterr().out
    assert main(["migrate", *arguments(account, "--yes")]) == 0
    moved(account)


@pytest.mark.parametrize(
    "reached",
    [
        "the second job, whose answer is lost",
        pytest.param("the first upload", marks=pytest.mark.full),
        pytest.param("the third price", marks=pytest.mark.full),  # whether that job began is asked twice, 15 s apart
    ],
)
def test_killed_while_submitting_no_job_is_missing_and_none_doubled(
    account: Account, migrate: Callable[..., Any], reached: str
) -> None:
    fault = {
        "the first upload": {"kind": "hang", "method": "POST", "path": "/files"},
        # The server acts at once and answers when it is too late.
        "the second job, whose answer is lost": {"kind": "slow", "method": "POST", "path": "/fine-tunes", "skip": 1},
        "the third price": {"kind": "hang", "method": "POST", "path": "/fine-tunes/estimate-price", "skip": 2},
    }[reached]
    stuck = account.together.fail(**fault, seconds=3600)  # type: ignore[arg-type]
    created = {"the first upload": 0, "the second job, whose answer is lost": 2, "the third price": 2}[reached]
    killed_when(
        migrate(*arguments(account, "--yes")),
        lambda: stuck.times == 0 and account.together.jobs_created == created,
    )
    account.together.clear_faults()
    code, out, error = finished(migrate(*arguments(account, "--yes", "--wait", "--json")))
    assert code == 0, error
    document = json.loads(out)
    models = moved(account)
    assert {job["tuned_model"] for job in document["jobs"]} == set(models.values())
    uploaded = Counter(file.content for file in account.together.files.values())
    assert len(uploaded) == 4 and set(uploaded.values()) == {1}
    with JobService() as workspace:
        rows = workspace.store.jobs.all()
        assert len(rows) == 3 and {row.job_status for row in rows} == {JobStatus.SUCCEEDED}
        assert {row.tune_spec.metadata["migrated_from"] for row in rows} == set(account.jobs.values())


def test_a_job_that_waits_for_a_place_keeps_nothing_up(account: Account, migrate: Callable[..., Any]) -> None:
    """In a process of its own, so that one that waits for hours fails the test."""
    full: dict[str, Any] = {"status": 429, "times": None, "headers": {"retry-after": "3000"}}
    account.together.fail("status", method="POST", path="/fine-tunes", **full)
    code, out, error = finished(migrate(*arguments(account, "--yes")))
    assert code == 0 and account.together.jobs_created == 0, error
    with JobService() as workspace:
        rows = workspace.store.jobs.all()
        assert [row.status for row in rows] == ["submitting"] * 3 and all(row.waits_since for row in rows)
        assert "3 jobs wait for a free slot there; `tuneport watch " in " ".join(out.split())
        assert any(f"`tuneport watch {row.id}`" in " ".join(out.split()) for row in rows)


def test_a_move_that_failed_is_made_again_only_when_asked(account: Account, capsys: pytest.CaptureFixture[str]) -> None:
    only = ["--job", account.jobs["dpo"]]
    account.together.next_job(fails_with={"code": "broken", "message": "a GPU broke"}, status="error")
    base = ["migrate", "--from", "openai", "--to", "together", "--model", LLAMA, *only]
    assert main([*base, "--yes", "--wait"]) == 3
    capsys.readouterr()
    assert main([*base, "--yes"]) == 2
    assert "--again starts another job" in " ".join(capsys.readouterr().out.split())
    assert account.together.jobs_created == 1
    assert main([*base, "--yes", "--wait", "--again"]) == 0
    assert account.together.jobs_created == 2
    assert main([*base, "--yes", "--again"]) == 0  # the second one succeeded, and stays
    assert account.together.jobs_created == 2


def test_another_store_does_not_start_it_again_by_accident(
    account: Account, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    base = ["migrate", "--to", "together", "--model", LLAMA, "--job", account.jobs["dpo"], "--yes"]
    assert main([*base, "--from", "openai", "--save", str(tmp_path / "backup")]) == 0
    monkeypatch.setenv("TUNEPORT_HOME", str(tmp_path / "another home"))
    assert main([*base, "--saved", str(tmp_path / "backup")]) == 2
    assert "from another store" in " ".join(capsys.readouterr().out.split())
    assert account.together.jobs_created == 1


def test_from_any_backend_to_any_other(account: Account, isolated: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with JobService() as workspace:
        spec = TuneSpec(model="base", dataset=chats(isolated / "t.jsonl"), validation=chats(isolated / "v.jsonl", 5))
        workspace.drive(workspace.submit(spec, backend="fake").id, poll_seconds=0.01)
    assert main(["migrate", "--from", "fake", "--to", "together", "-m", LLAMA, "--yes", "--wait", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    (row,) = document["comparisons"]
    assert row["agreement"]["correct"] == row["rows"] == 5 and row["new"]["share"] == 1.0
    # And back again, from a hosted account to here.
    assert main(["migrate", "--from", "together", "--to", "fake", "-m", "base", "--yes", "--wait", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert [job["status"] for job in document["jobs"]] == ["succeeded"]
    settings = {line["setting"]: line["fate"] for line in document["plans"][0]["settings"]}
    assert settings["lora_rank"] == "same" and settings["packing"] == "same"


# --- comparing ------------------------------------------------------------------------------------------------------


def test_a_model_that_does_not_answer_is_told(
    account: Account, opened: Callable[..., Migration], tmp_path: Path
) -> None:
    migration = opened()
    together, openai = migration.workspace.backend("together"), migration.workspace.backend("openai")
    held_out = chats(tmp_path / "held-out.jsonl", 80)
    base = "meta-llama/Meta-Llama-3.1-8B-Instruct-Reference"
    over = compare_moved_models("old", "new", held_out, (openai, "ft:gone"), (together, base), most=20)
    assert (over.rows, over.of) == (20, 80)
    assert over.old.unavailable and over.old.unavailable.startswith("no longer answers") and over.agreement is None
    assert over.new_score is not None and over.new_score.correct == 0
    assert over.new_score.low == 0 and over.new_score.high == pytest.approx(0.161, abs=0.01)
    assert {*over.examples[0]} == {"prompt", "reference", "new"} and len(over.examples) == 3
    gone = compare_moved_models("old", "new", held_out, (None, "ft:gone"), (together, base), most=20)
    assert gone.old.unavailable == "the account is not asked (--saved)"
    assert gone.examples == over.examples  # always the same rows


def test_an_endpoint_that_is_needed_is_told(account: Account, capsys: pytest.CaptureFixture[str]) -> None:
    account.together.serverless_tuned = False
    only = ["--job", account.jobs["held_out"]]
    command = ["migrate", "--from", "openai", "--to", "together", "-m", LLAMA, *only, "--yes", "--wait"]
    assert main(command) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert "endpoint" in out and "old 50.0%" in out


def test_prompts_are_the_text_up_to_the_last_answer(tmp_path: Path) -> None:
    call = {"id": "c1", "type": "function", "function": {"name": "look", "arguments": "{}"}}
    rows = [
        {"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]},
        {"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "tool_calls": [call]}]},
        {
            "messages": [
                {"role": "system", "content": "s"},
                {"role": "user", "content": "a"},
                {"role": "assistant", "content": "b"},
                {"role": "user", "content": "c"},
                {"role": "assistant", "content": "d"},
            ]
        },
    ]
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = comparison_prompts(path)
    assert [(prompt.shown, prompt.reference, len(prompt.messages)) for prompt in found] == [
        ("a", "b", 1),
        ("c", "d", 4),
    ]


# --- to this machine, with the real trainer -------------------------------------------------------------------------


@pytest.mark.full
def test_three_jobs_move_to_this_machine_killed_halfway(
    account: Account, migrate: Callable[..., Any], isolated: Path, tmp_path: Path
) -> None:
    model = tiny_model(tmp_path / "tiny-model", context=2048)
    (isolated / "tuneport.toml").write_text(
        f'[models."{MINI}"]\nlocal = "{model}"\n[models."{SMALL}"]\nlocal = "{model}"\n'
    )
    command = ["--from", "openai", "--to", "local", "--data", f"{account.jobs['gone']}={account.copy}", "--yes"]
    home = tmp_path / "home"
    killed_when(migrate(*command), lambda: len(list((home / "runs").glob("run-*"))) == 2)
    code, out, error = finished(migrate(*command, "--wait", "--json"))
    assert code == 0, error
    document = json.loads(out)
    assert {job["status"] for job in document["jobs"]} == {"succeeded"}
    assert len(list((home / "runs").glob("run-*"))) == 3
    with JobService() as workspace:
        assert {row.tune_spec.metadata["migrated_from"] for row in workspace.store.jobs.all()} == set(
            account.jobs.values()
        )
    compared = {row["job"]: row for row in document["comparisons"]}
    row = compared[account.jobs["held_out"]]
    assert row["rows"] == 12 and row["old"]["correct"] == 6 and row["new"] is not None
