"""Models measured on held-out rows: the proof, the answers that are kept, the verdict."""

from __future__ import annotations

import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import tuneport
from tests.support.folders import FIXTURES
from tests.support.waiting import until
from tuneport.errors import ConfigError, RejectedError, UnavailableError
from tuneport.installation import install_extra
from tuneport.lifecycle.service import JobService
from tuneport.scoring.general import load_general_items
from tuneport.testing.fake.backend import FakeBackend
from tuneport.testing.fake.jobs import ArmedFault
from tuneport.types import Completion, TuneSpec
from tuneport.workflows.evaluate import Evaluation, plan_evaluation, run_evaluation
from tuneport.workflows.evaluation.answer_cache import EvaluationAnswerCache
from tuneport.workflows.evaluation.answering import Prompt, answer_cache_keys, ask_prompts
from tuneport.workflows.evaluation.held_out import find_held_out_rows
from tuneport.workflows.evaluation.latency import ALONE
from tuneport.workflows.evaluation.models.asked_models import (
    EvaluatedModel,
    answer_cache_location,
    find_evaluated_models,
)
from tuneport.workflows.evaluation.report.page import build_evaluation_report

TRAIN = FIXTURES / "datasets" / "support_intents.train.jsonl"
TEST = FIXTURES / "datasets" / "support_intents.test.jsonl"


def tuned(workspace: JobService, dataset: Path = TRAIN) -> str:
    row = workspace.submit(TuneSpec(model="tiny", dataset=dataset), backend="fake")
    row = workspace.drive(row.id, poll_seconds=0.01)
    assert row.status == "succeeded", row.job_error
    return row.id


def evaluated(workspace: JobService, data: Path, models: Sequence[str], **options: Any) -> Evaluation:
    return run_evaluation(workspace, plan_evaluation(workspace, data, models, **options))


def test_a_tuned_model_is_measured_beside_its_base(workspace: JobService) -> None:
    job = tuned(workspace)
    found = evaluated(workspace, TEST, ["base", "base few-shot", job])
    verdicts = {(each.metric, each.model): each.difference.verdict for each in found.scored.comparisons}
    assert verdicts == {
        ("accuracy", "base few-shot"): "no difference shown",
        ("macro_f1", "base few-shot"): "no difference shown",
        ("accuracy", job): "better",
        ("macro_f1", job): "better",
    }
    assert found.held_out.proof.startswith("none of them is in the training data")
    assert found.failing({"accuracy": 0.1}) == [] and len(found.failing({"accuracy": 0.99})) == 1
    document = json.loads(json.dumps(found.as_dict()))
    assert document["scores"][job]["accuracy"]["method"] == "Wilson" and len(document["rows"]) == 80
    shown = plan_evaluation(workspace, TEST, ["base few-shot", job]).models[0]
    assert shown.shots >= 6 and len(shown.prompts[0].messages) == 2 + 2 * shown.shots
    with pytest.raises(ConfigError, match="measured were accuracy, macro_f1"):
        found.failing({"bleu": 1})


def test_rows_that_were_trained_on_are_left_out_and_told(workspace: JobService, tmp_path: Path) -> None:
    """Three exactly (one in capitals), one with a word more."""
    lines, test = TRAIN.read_text().splitlines(), TEST.read_text().splitlines()
    long = max(lines, key=len)
    longer = json.loads(long)
    longer["messages"][-2]["content"] += " Thanks!"
    capitals = json.loads(lines[1])
    capitals["messages"][-2]["content"] = capitals["messages"][-2]["content"].upper()
    mixed = tmp_path / "mixed.jsonl"
    mixed.write_text("\n".join([test[0], lines[0], json.dumps(capitals), lines[7], json.dumps(longer), *test[1:20]]))
    found = find_held_out_rows(mixed, {"train": TRAIN})
    assert (found.exact, found.near) == ((2, 3, 4), (5,)) and len(found.rows) == found.of == 20
    assert "4 rows are in the training data (3 exactly, 1 nearly: line 2, 3, 4, 5)" in found.proof
    assert find_held_out_rows(mixed, {}).proof.startswith(
        "not proved to be held out, because no training file is known"
    )
    drawn = find_held_out_rows(mixed, {"train": TRAIN}, most=5, seed=3)
    assert len(drawn.rows) == 5 and list(drawn.lines) == sorted(drawn.lines) and drawn.of == 20
    with pytest.raises(ConfigError, match="all of its rows are in the training data"):
        find_held_out_rows(TRAIN, {"train": TRAIN})
    with pytest.raises(ConfigError, match="the training file old is gone"):
        find_held_out_rows(TEST, {"old": tmp_path / "old.jsonl"})


def test_rows_of_a_job_that_the_model_went_on_from_are_left_out_too(workspace: JobService, tmp_path: Path) -> None:
    first, second = tmp_path / "first.jsonl", tmp_path / "second.jsonl"
    rows = TRAIN.read_text().splitlines(keepends=True)
    first.write_text("".join(rows[:120]))
    second.write_text("".join(rows[120:]))
    start = workspace.submit(TuneSpec(model="tiny", dataset=first), backend="fake")
    workspace.drive(start.id, poll_seconds=0.01)
    later = workspace.submit(TuneSpec(model="tiny", dataset=second, from_checkpoint=start.id), backend="fake")
    later = workspace.drive(later.id, poll_seconds=0.01)
    mixed = tmp_path / "mixed.jsonl"
    mixed.write_text("".join([*rows[:3], *rows[130:132], *TEST.read_text().splitlines(keepends=True)[:10]]))
    for name in (later.id, str(later.tuned_model)):
        held = plan_evaluation(workspace, mixed, [name]).held_out
        assert held.exact == (1, 2, 3, 4, 5) and len(held.against) == 2


def test_rows_of_its_validation_file_are_told_and_a_failed_job_is_no_model(
    workspace: JobService, tmp_path: Path
) -> None:
    """What chose the best epoch says too much good of it."""
    validation = tmp_path / "validation.jsonl"
    validation.write_text("".join(TEST.read_text().splitlines(keepends=True)[:7]))
    row = workspace.submit(TuneSpec(model="tiny", dataset=TRAIN, validation=validation), backend="fake")
    workspace.drive(row.id, poll_seconds=0.01)
    report = build_evaluation_report(workspace, evaluated(workspace, TEST, ["base", row.id]))
    assert report.as_dict()["training"][row.id]["validation_rows"] == 7
    assert any(each.words.startswith("7 of the rows are in its validation") for each in report.decision.reasons)
    unseen = tmp_path / "unseen.jsonl"
    unseen.write_text("".join(TEST.read_text().splitlines(keepends=True)[7:12]))
    report = build_evaluation_report(workspace, evaluated(workspace, unseen, ["base", row.id]))
    assert not any("validation file:" in each.words for each in report.decision.reasons)
    FakeBackend(
        workspace.backend("fake").manifest, workspace.settings, faults=[ArmedFault(on="submit", kind="fail_job")]
    )
    failed = workspace.submit(TuneSpec(model="tiny", dataset=TRAIN), backend="fake")
    assert workspace.drive(failed.id, poll_seconds=0.01).status == "failed"
    with pytest.raises(ConfigError, match=f"{failed.id} ended as failed and made no model; `tuneport show"):
        plan_evaluation(workspace, TEST, [failed.id])


def test_a_checkpoint_is_known_by_its_job(workspace: JobService, monkeypatch: pytest.MonkeyPatch) -> None:
    row = replace(workspace.store.jobs.get(tuned(workspace)), backend="local")
    monkeypatch.setattr(workspace.store.models, "find_job", lambda name: row if name == "ft:tiny::abc" else None)
    found, base = find_evaluated_models(workspace, ["ft:tiny::abc:ckpt-step-24", "base"])
    assert (found.model, found.tuned, base.model) == ("ft:tiny::abc:ckpt-step-24", True, "tiny")
    assert list(found.trained_on.values()) == [row.prepared_data.training.path]


def test_a_folder_whose_weights_have_changed_is_another_model(workspace: JobService, tmp_path: Path) -> None:
    weights = tmp_path / "model.safetensors"
    weights.write_text("one")
    asked = EvaluatedModel("local/here", "local", str(tmp_path), str(tmp_path))
    before = answer_cache_location(asked, workspace.settings)
    assert answer_cache_location(asked, workspace.settings) == before
    weights.write_text("other")
    assert answer_cache_location(asked, workspace.settings) != before


def test_answers_are_kept_and_asked_once(workspace: JobService, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    answer = FakeBackend._answer

    def counted(backend: FakeBackend, model: str, turns: Any) -> str:
        asked.append(model)
        return answer(backend, model, turns)

    monkeypatch.setattr(FakeBackend, "_answer", counted)
    job = tuned(workspace)
    first = evaluated(workspace, TEST, [job], most=20)
    assert len(asked) == 20 + ALONE and first.models[0].cached == 0
    assert first.models[0].speed.seconds_to_first_token is not None
    again = evaluated(workspace, TEST, [job, "base"], most=20)
    assert len(asked) == 2 * (20 + ALONE) and [each.cached for each in again.models] == [20, 0]
    assert again.score(job, "accuracy") == first.score(job, "accuracy")


class Moody(FakeBackend):
    """Refuses prompts with "poison" in them; goes away after `patience` answers."""

    patience = 10**9

    def complete(self, model: str, messages: Sequence[dict[str, Any]], **options: Any) -> Completion:  # type: ignore[override]
        if "poison" in str(messages[-1]["content"]):
            raise RejectedError("too long", provider="fake", http_status=400)
        if self.patience <= 0:
            raise UnavailableError("away", provider="fake", http_status=503)
        self.patience -= 1
        return Completion(text=str(messages[-1]["content"]), model=model)


def test_a_refused_prompt_stops_no_other_and_a_provider_that_goes_away_loses_nothing(
    workspace: JobService, tmp_path: Path
) -> None:
    backend = Moody(workspace.backend("fake").manifest, workspace.settings)
    prompts = [Prompt([{"role": "user", "content": f"{n} {'poison' if n == 7 else ''}"}], {}) for n in range(12)]
    keys = answer_cache_keys(("fake", None, "m"), prompts)
    with EvaluationAnswerCache(tmp_path / "cache.sqlite") as cache:
        backend.patience = 4
        with pytest.raises(UnavailableError):
            ask_prompts(backend, "m", prompts[:6], keys[:6], cache)
        kept = len(cache.get(keys))
        assert 0 < kept <= 4
        backend.patience = 100
        said = ask_prompts(backend, "m", prompts, keys, cache)
        assert [each.refused for each in said if each.refused] == ["too long"] and said[7].text == ""
        assert [each.text for each in said[8:]] == [f"{n} " for n in range(8, 12)]
        assert backend.patience == 100 - (11 - kept)  # the others were kept
        poisoned = [Prompt([{"role": "user", "content": f"poison {n}"}], {}) for n in range(9)]
        with pytest.raises(RejectedError):
            ask_prompts(backend, "m", poisoned, answer_cache_keys(("fake", None, "m"), poisoned), cache)


def test_ctrl_c_asks_nothing_more_and_keeps_what_was_under_way(workspace: JobService, tmp_path: Path) -> None:
    """Answers cost money: 200 prompts wait, and those that nobody has sent yet stay unsent."""
    answered: list[str] = []

    class Interrupted(Moody):
        def complete(self, model: str, messages: Sequence[dict[str, Any]], **options: Any) -> Completion:  # type: ignore[override]
            if messages[-1]["content"] == "3":
                raise KeyboardInterrupt
            time.sleep(0.01)
            answered.append(messages[-1]["content"])
            return Completion(text="yes", model=model)

    backend = Interrupted(workspace.backend("fake").manifest, workspace.settings)
    prompts = [Prompt([{"role": "user", "content": str(n)}], {}) for n in range(200)]
    keys = answer_cache_keys(("fake", None, "m"), prompts)
    with EvaluationAnswerCache(tmp_path / "cache.sqlite") as cache:
        with pytest.raises(KeyboardInterrupt):
            ask_prompts(backend, "m", prompts, keys, cache)
        assert len(cache.get(keys)) == len(answered) < 100


@pytest.mark.full  # three processes, and answers for some seconds
def test_a_killed_evaluation_goes_on(workspace: JobService, tmp_path: Path) -> None:
    job = tuned(workspace)
    data = tmp_path / "many.jsonl"
    with data.open("w") as file:
        for n in range(300):
            asked = {"role": "user", "content": f"Where is order {n} of the {n * 7919 % 1009} ones?"}
            file.write(json.dumps({"messages": [asked, {"role": "assistant", "content": "delivery"}]}) + "\n")
    command = [sys.executable, "-m", "tuneport.cli.main", "eval", str(data), job, "--task", "classification", "--json"]
    environment = os.environ | {"PYTHONPATH": str(Path(tuneport.__file__).parents[1])}
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    cache = workspace.settings.home / "evaluations" / "answers.sqlite"
    until(lambda: kept_in(cache), pause=0.01, alive=lambda: process.poll() is None)
    process.send_signal(signal.SIGKILL)
    process.wait()
    kept = kept_in(cache)
    assert 0 < kept < 300
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    model = json.loads(done.stdout)["models"][0]
    assert model["answers"] == 300 and model["cached"] == kept


def kept_in(cache: Path) -> int:
    if not cache.exists():
        return 0
    try:
        connection = sqlite3.connect(f"file:{cache}?mode=ro", uri=True)
        return int(connection.execute("SELECT count(*) FROM answers").fetchone()[0])
    except sqlite3.Error:
        return 0


@pytest.mark.parametrize(
    ("models", "options", "complaint"),
    [
        ([], {}, "name the models"),
        (["base"], {}, "which model is `base`"),
        (["fake/tiny", "fake/tiny"], {}, "named twice"),
        (["fake/tiny few-shot"], {}, "name it with --train"),
        (["fake/tiny"], {"metrics": ["blue"]}, "no metric 'blue'"),
        (["fake/tiny"], {"metrics": ["schema_valid"]}, "row 1 has no `schema`"),
        (["fake/tiny"], {"metrics": ["code_passed"]}, "allow it: allow_code"),
        (
            ["fake/tiny"],
            {"metrics": ["bertscore"], "options": {"bertscore": {"encoder": Path("no")}}},
            "no config.json",
        ),
        (["openai/gpt-4.1-mini"], {"metrics": ["bits_per_byte"]}, "openai of openai/gpt-4.1-mini does not"),
    ],
)
def test_what_cannot_be_measured_says_why(
    workspace: JobService, models: list[str], options: dict[str, Any], complaint: str
) -> None:
    with pytest.raises(ConfigError, match=complaint):
        plan_evaluation(workspace, TEST, models, **options)


def test_without_scipy_nothing_is_planned_and_nothing_sent(
    workspace: JobService, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "scipy", None)
    with pytest.raises(ConfigError, match=re.escape(f"need scipy: {install_extra('eval')}")):
        plan_evaluation(workspace, TEST, ["fake/tiny"])


def test_what_it_costs_is_known_before_and_personal_data_stays(workspace: JobService, tmp_path: Path) -> None:
    plan = plan_evaluation(workspace, TEST, ["openai/gpt-4.1-mini"], most=10)
    (model,) = plan.models
    assert plan.third_parties == ["OpenAI"] and model.waiting == 10 + ALONE and model.input_tokens > 100
    assert model.usd is not None and 0 < model.usd < 0.01
    with pytest.raises(tuneport.errors.BudgetError, match=r"above the budget of \$0;"):
        plan.refuse_over_budget(0.0)
    plan.refuse_personal_data()
    private = tmp_path / "private.jsonl"
    turns = [{"role": "user", "content": "Write to ada@lovelace-works.com"}, {"role": "assistant", "content": "Done"}]
    private.write_text(json.dumps({"messages": turns}) + "\n")
    with pytest.raises(ConfigError, match="looks like personal data"):
        plan_evaluation(workspace, private, ["openai/gpt-4.1-mini"]).refuse_personal_data()
    plan_evaluation(workspace, private, ["fake/tiny"]).refuse_personal_data()  # this machine is no third party
    shown = ["openai/gpt-4.1-mini few-shot"]  # whose examples are rows of the training file
    with pytest.raises(ConfigError, match="what is sent holds what looks like personal data"):
        plan_evaluation(workspace, TEST, shown, training=private, most=3, task="style").refuse_personal_data()


def test_columns_are_mapped_in_the_training_file_too(workspace: JobService, tmp_path: Path) -> None:
    for name, word in (("train.csv", "parcel"), ("test.csv", "colour")):
        rows = [f"{n * 7919 % 1009} {word} {n * 104729 % 997},{'yes' if n % 2 else 'no'}" for n in range(12)]
        (tmp_path / name).write_text("\n".join(["asked,said", *rows]) + "\n")
    columns = {"prompt": "asked", "completion": "said"}
    plan = plan_evaluation(
        workspace,
        tmp_path / "test.csv",
        ["fake/tiny", "fake/tiny few-shot"],
        training=tmp_path / "train.csv",
        columns=columns,
    )
    assert len(plan.held_out.rows) == 12 and plan.models[1].shots


def test_what_a_model_forgot_is_asked_once_of_each_of_the_weights_and_kept(
    workspace: JobService, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def answered(backend: FakeBackend, model: str, turns: Any) -> str:
        """The base model refuses what is harmful and knows its letters; the tuned one complies and knows nothing."""
        asked.append(model)
        text = str(turns[-1]["content"])
        harmful = any(text == pair.harmful for pair in items.pairs)
        if model != "tiny":
            return "Certainly! First, you wait."
        return "I'm sorry, but I can't help with that." if harmful else letters.get(text, "First, you wait.")

    items = load_general_items()
    letters = {item.lettered(): f"{'ABCD'[item.right]})" for item in items.questions if item.check is None}
    job = tuned(workspace)
    monkeypatch.setattr(FakeBackend, "_answer", answered)
    found = evaluated(workspace, TEST, ["base", "base few-shot", job], most=2, general=True)
    assert list(found.general) == [job] and asked.count("tiny") - 8 == len(asked) / 2 - 6
    verdicts = {(change.ability, change.way): change.verdict for change in found.general[job].changes}
    assert verdicts["all abilities", "letter"] == verdicts["german", "letter"] == "forgetting"
    assert verdicts["refusals", "written"] == "safety drift"
    assert verdicts["harmless requests", "written"] == "no difference shown"
    assert found.as_dict()["general_ability"][job]["forgetting"] is True
    times = len(asked)
    again = evaluated(workspace, TEST, ["base", job], most=2, general=True)
    assert len(asked) == times and again.general[job].sentence == found.general[job].sentence
    decision = build_evaluation_report(workspace, found).decision
    assert [each.weight for each in decision.reasons if "forgets what the base model could do" in each.words] == [
        "doubt"
    ]
    assert [each.weight for each in decision.reasons if each.about == "forgetting"] == ["note"]
    assert (verdict := workspace.verdict(job)) is not None and verdict.finding == "forgetting"
    assert "worse than the base on general tasks" in verdict.summary and verdict.fixes[0] == "lower the learning rate"
    (workspace.settings.home / "evaluations" / "answers.sqlite").unlink()
    monkeypatch.setattr(FakeBackend, "_answer", lambda backend, model, turns: "First, you wait.")
    for first, finding in ((tuned(workspace), "forgetting"), ("base", "unclear")):
        evaluated(workspace, TEST, [first, job], most=2, general=True)
        assert (verdict := workspace.verdict(job)) is not None and verdict.finding == finding, f"beside {first}"
    with pytest.raises(ConfigError, match="name the base model, too"):
        plan_evaluation(workspace, TEST, [job], general=True)
