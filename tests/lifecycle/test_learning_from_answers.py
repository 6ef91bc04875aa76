"""grpo and rloo from the caller's side: the reward function lies beside the caller, the reward model is a job."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.rows import chat, write
from tests.support.tiny import preference_rows, tiny_model, write_rows
from tuneport.errors import ConfigError
from tuneport.lifecycle import verbs
from tuneport.lifecycle.handle import JobFailedError
from tuneport.lifecycle.submitting.flags import build_submit_command
from tuneport.lifecycle.submitting.options import JobOptions
from tuneport.settings import Settings
from tuneport.types import Hyperparameters, JobStatus, TuneSpec
from tuneport.validation import parse_or_config_error

pytest.importorskip("trl", reason="local training is an extra: pip install 'tuneport[local]'")

REWARD = """
def length(prompts, completions, answer, **columns):
    assert all(text == "Hello!" for text in answer)
    return [float(len(turns[0]["content"])) for turns in completions]
"""
OPTIONS = {"generations": 2, "max_completion_length": 4, "precision": "fp32"}
PATIENCE = 300.0  # seconds for what takes fifteen on two idle cores


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path / "home")


@pytest.fixture
def chats(tmp_path: Path) -> Path:
    return write(tmp_path / "chats.jsonl", [chat(f"Say hello {number}", "Hello!") for number in range(4)])


@pytest.mark.full
def test_a_reward_function_is_imported_from_the_folder_of_submit(
    settings: Settings, chats: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = tiny_model(tmp_path / "model")
    (tmp_path / "caller").mkdir()
    (tmp_path / "caller" / "my_rewards.py").write_text(REWARD)
    monkeypatch.chdir(tmp_path / "caller")
    asked = {
        "backend": "local",
        "hyperparameters": {"epochs": 1},
        "provider_options": OPTIONS,
        "settings": settings,
        "anyway": True,
    }
    job = verbs.submit(chats, model=str(model), reward="my_rewards:length", **asked)
    monkeypatch.chdir(tmp_path)
    job.wait(PATIENCE)

    assert job.status is JobStatus.SUCCEEDED
    told = job.as_dict()
    assert (told["method"], told["reward"]) == ("grpo", "my_rewards:length")
    details = told["details"]
    assert details["trainable_share"] == pytest.approx(
        details["trainable_parameters"] / details["total_parameters"], abs=1e-6
    )
    points = job.metrics()
    assert points and all(point.extra["reward"] >= 0 and "kl" in point.extra for point in points)

    said = "my_rewards:length cannot be imported from .*submit from the folder"
    with pytest.raises(JobFailedError, match=said) as caught:
        verbs.submit(chats, model=str(model), reward="my_rewards:length", **asked)
    assert caught.value.error is not None and caught.value.error.fault == "user"


@pytest.mark.full
def test_a_finished_reward_job_judges_the_answers_of_another(settings: Settings, chats: Path, tmp_path: Path) -> None:
    model = tiny_model(tmp_path / "model")
    pairs = write_rows(tmp_path / "pairs.jsonl", preference_rows(8))
    asked = {
        "model": str(model),
        "backend": "local",
        "hyperparameters": {"epochs": 1},
        "settings": settings,
        "anyway": True,
    }
    ranker = verbs.submit(pairs, method="reward", **asked).wait(PATIENCE)
    job = verbs.submit(chats, method="rloo", reward=ranker.id, provider_options=OPTIONS, **asked).wait(PATIENCE)
    assert job.status is JobStatus.SUCCEEDED and "reward" in job.metrics()[0].extra
    grader = {"type": "string_check", "name": "polite", "input": "{{sample.output_text}}", "operation": "ilike"}
    graded = {**asked, "grader": {**grader, "reference": "{{item.answer}}"}, "provider_options": OPTIONS}
    questions = write(tmp_path / "questions.jsonl", [{**chat("Say hello"), "answer": "Hello"} for _ in range(4)])
    last = verbs.submit(questions, **graded).wait(PATIENCE)  # as it would go to OpenAI
    assert last.as_dict()["method"] == "rft" and 0 <= last.metrics()[0].extra["reward"] <= 1
    with pytest.raises(ConfigError, match="trains no reward model on local"):
        verbs.submit(chats, reward=job.id, provider_options=OPTIONS, **asked)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"method": "grpo"}, "the method grpo needs a reward"),
        ({"method": "sft", "reward": "a:b"}, "a reward belongs to the methods grpo and rloo, not to sft"),
        ({"method": "rft", "grader": {"type": "x"}, "reward": "a:b"}, "a reward belongs to the methods grpo and rloo"),
        ({"method": "dpo", "hyperparameters": Hyperparameters(beta=0)}, "beta must be above 0 for dpo"),
    ],
)
def test_a_reward_stands_where_it_is_used_and_only_there(fields: dict[str, object], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        parse_or_config_error(TuneSpec, {"model": "m", "dataset": "a.jsonl", **fields})


def test_a_command_for_another_try_has_the_reward() -> None:
    spec = parse_or_config_error(
        TuneSpec, {"model": "m", "dataset": "a.jsonl", "method": "rloo", "reward": "pkg.mod:fn"}
    )
    assert spec.reward_function == ("pkg.mod", "fn")
    assert "--method rloo --reward pkg.mod:fn" in build_submit_command(spec, JobOptions(), backend="local")
    assert spec.model_copy(update={"reward": "/some/folder"}).reward_function is None
