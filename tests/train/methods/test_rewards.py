"""What judges answers: functions that fail say so in one line, and a trained reward model scores as it was trained."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.support.tiny import lines_of, make_run, preference_rows, state_of, write_rows
from tuneport.backends.local.reward import check_local_reward_function
from tuneport.data.rows.records import Graded, Message
from tuneport.data.templates.rendering import RenderedPrompt
from tuneport.errors import ConfigError, DatasetError
from tuneport.train.__main__ import train_run_folder


def asked(text: str = "Q", **columns: Any) -> RenderedPrompt:
    record = Graded([Message("user", text)], columns)
    return RenderedPrompt([1], [{"role": "user", "content": text}], columns, record)


def test_a_grader_that_gives_no_finite_number_is_refused_or_noted() -> None:
    from tuneport.data.graders.graders import Grader
    from tuneport.train.methods.rewards import reward_from_grader
    from tuneport.train.run.failures import RewardError

    class Endless(Grader):
        def score_answer(self, answer: str, item: Any) -> float:
            return float(answer)

    check = {"type": "string_check", "input": "a", "reference": "b", "operation": "eq"}
    with pytest.raises(RewardError, match="the grader gave inf; it must give finite numbers"):
        reward_from_grader(Endless(check), print)([asked()] * 2, ["1", "inf"], {})
    notes: list[str] = []
    grader = Grader({"type": "python", "source": "def grade(sample, item): return float('nan')"}, run_code=True)
    assert reward_from_grader(grader, notes.append)([asked()], ["x"], {}) == [0.0]
    grader.close()
    assert len(notes) == 1 and notes[0].endswith("it gave nan; it must give a finite number; such answers are worth 0")


def test_a_function_gets_questions_answers_and_columns() -> None:
    from tuneport.train.methods.rewards import reward_from_function

    seen: dict[str, Any] = {}

    def reward(prompts: Any, completions: Any, **columns: Any) -> list[float | None]:
        seen.update(columns, prompts=prompts, completions=completions)
        return [1, None]

    rows = [asked("A", label="a"), asked("B", source="b")]
    assert reward_from_function(reward, "m:reward", rows)(rows, ["x", "y"], {"completion_ids": [[1], [2]]}) == [
        1.0,
        None,
    ]
    assert seen == {
        "prompts": [[{"role": "user", "content": "A"}], [{"role": "user", "content": "B"}]],
        "completions": [[{"role": "assistant", "content": "x"}], [{"role": "assistant", "content": "y"}]],
        "label": ["a", None],
        "source": [None, "b"],
        "completion_ids": [[1], [2]],
    }
    with pytest.raises(DatasetError, match="rename the column"):
        reward_from_function(reward, "m:reward", [asked(prompts="x")])


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (lambda **told: [1.0], "gave 1 numbers for 2 answers"),
        (lambda **told: [1.0, float("nan")], "gave nan; it must give finite numbers"),
        (lambda **told: ["good", 1], "failed: ValueError: could not convert string to float"),
        (lambda prompts: [1, 1], r"failed: TypeError: .*unexpected keyword.*\*\*columns"),
        (lambda **told: 1 / 0, r"failed: ZeroDivisionError: division by zero \(.*test_rewards.py:\d+\)"),
    ],
)
def test_a_function_that_fails_is_named_with_its_line(given: Any, said: str) -> None:
    from tuneport.train.methods.rewards import RewardError, reward_from_function
    from tuneport.train.run.failures import training_job_error

    rows = [asked(), asked()]
    with pytest.raises(RewardError, match=f"the reward function m:reward {said}") as caught:
        reward_from_function(given, "m:reward", rows)(rows, ["x", "y"], {})
    failure = training_job_error(caught.value)
    assert (failure.code, failure.fault, failure.param) == ("reward_failed", "user", "reward")
    assert "\n" not in failure.message


@pytest.mark.parametrize(
    ("function", "said"),
    [
        (("mine", "good"), None),
        (("mine", "missing"), "has no missing"),
        (("mine", "slow"), "is not a plain function"),
        (("mine", "number"), "is not a plain function"),
        (("nowhere", "good"), "nowhere:good cannot be imported from .*ModuleNotFoundError"),
        (("broken", "good"), "broken:good cannot be imported from .*ValueError: of its own"),
        (("leaves", "good"), "leaves:good: its module ended Python with exit code 7"),
    ],
)
def test_a_function_is_looked_at_in_a_process_of_its_own(
    function: tuple[str, str], said: str | None, tmp_path: Path
) -> None:
    import os

    good = "def good(prompts, completions, **columns): return [1.0] * len(completions)\n"
    (tmp_path / "mine.py").write_text(good + "async def slow(): pass\nnumber = 3\n")
    (tmp_path / "broken.py").write_text("raise ValueError('of its own')")
    (tmp_path / "leaves.py").write_text("import os; os._exit(7)")
    if said is None:
        check_local_reward_function(tmp_path, function, dict(os.environ))
        return
    with pytest.raises(ConfigError, match=said):
        check_local_reward_function(tmp_path, function, dict(os.environ))


@pytest.mark.parametrize(
    "adapter",
    ["lora", pytest.param("full", marks=pytest.mark.full), pytest.param("qlora", marks=pytest.mark.full)],
)
def test_a_reward_model_that_was_trained_here_judges_answers(
    adapter: str, home: Path, model: Path, tmp_path: Path
) -> None:
    import torch
    from peft import PeftModel
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    from tuneport.base_models import BaseModelDevice
    from tuneport.train.methods.rewards import RewardModel

    if adapter == "qlora":
        pytest.importorskip("bitsandbytes", reason="QLoRA needs bitsandbytes")
    pairs = write_rows(tmp_path / "pairs.jsonl", preference_rows(8))
    numbers = {"epochs": 6, "learning_rate": 3e-3 if adapter == "full" else 0.01}
    options = {"provider_options": {"precision": "bf16"}}
    ranker = make_run(
        home,
        model,
        pairs,
        format="openai-preference",
        hyperparameters=numbers,
        adapter=adapter,
        method="reward",
        **options,
    )
    assert train_run_folder(ranker) == 0, state_of(ranker)["error"]

    losses = [row["train_loss"] for row in lines_of(ranker / "metrics.jsonl")]
    assert losses[-1] < losses[0]
    weights = ranker / ("model" if adapter == "full" else "adapter")
    base = None if adapter == "full" else model
    judge = RewardModel(weights, base, BaseModelDevice("cpu", "fp32"))
    rows = [asked("Say hello 3"), asked("Say hello 12345"), asked("Say hello 3")]
    scores = judge(rows, ["Hello!", "Go away.", "Go away."], {})
    assert scores[0] > scores[2]

    plain: Any = AutoModelForSequenceClassification.from_pretrained(base or weights, num_labels=1)
    if base is not None:
        plain = PeftModel.from_pretrained(plain, str(weights))
    tokenizer = AutoTokenizer.from_pretrained(model)
    for row, answer, score in zip(rows, ["Hello!", "Go away.", "Go away."], scores, strict=True):
        turns = [*row.messages, {"role": "assistant", "content": answer}]
        text = tokenizer.apply_chat_template(turns, tokenize=False).removesuffix("\n")
        with torch.no_grad():
            assert score == pytest.approx(float(plain(**tokenizer(text, return_tensors="pt")).logits[0, 0]), abs=1e-3)

    questions = write_rows(tmp_path / "q.jsonl", [{"messages": row.messages} for row in rows])
    tuned = make_run(
        home,
        model,
        questions,
        name="run-2",
        format="openai-reinforcement",
        hyperparameters={"epochs": 1, "beta": 0.0},
        method="rloo",
        reward=str(weights),
        reward_model={"weights": str(weights), "base": None if base is None else str(base)},
        provider_options={"precision": "fp32", "generations": 2, "max_completion_length": 4},
    )
    assert train_run_folder(tuned) == 0, state_of(tuned)["error"]
    [step] = lines_of(tuned / "metrics.jsonl")
    assert step["extra"]["reward"] != 0 and "kl" not in step["extra"]
    assert state_of(tuned)["trained_tokens"] > 0
