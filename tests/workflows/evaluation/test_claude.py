"""Claude as a model that is measured and as the judge: through the vendor's SDK, at the usual price and in batches."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tuneport.backends import routing
from tuneport.errors import ConfigError
from tuneport.lifecycle.service import JobService
from tuneport.settings import Settings
from tuneport.testing.emulators import AnthropicEmulator
from tuneport.workflows.evaluate import Evaluation, plan_evaluation, run_evaluation
from tuneport.workflows.evaluation.judging.judge_models import find_judge_model
from tuneport.workflows.evaluation.latency import ALONE
from tuneport.workflows.evaluation.models.planned_models import THOUGHT_TOKENS

MODELS, JUDGE = ["fake/guesses", "anthropic/claude-haiku-4-5"], "anthropic/claude-sonnet-5-5"
ROWS = 8
BATCHES = "[backends.anthropic.options]\nbatches = true\nbatch_poll_interval = 0.01\n"


@pytest.fixture
def data(tmp_path: Path) -> Path:
    turns = [
        [{"role": "user", "content": f"What is {n} plus {n * 7}?"}, {"role": "assistant", "content": f"{n * 8}"}]
        for n in range(ROWS)
    ]
    path = tmp_path / "sums.jsonl"
    path.write_text("".join(json.dumps({"messages": each}) + "\n" for each in turns))
    return path


@pytest.fixture
def claude(anthropic: AnthropicEmulator, isolated: Path, monkeypatch: pytest.MonkeyPatch) -> AnthropicEmulator:
    def answer(asked: str) -> str:
        if "<answer>" not in asked:
            return str(int(asked.split()[2]) * 8)
        first = asked.split("<answer>\n")[1].split("\n</answer>")[0]
        return f"One has the number.\n\nVERDICT: {'A' if first.isdigit() else 'B'}"

    anthropic.answer, anthropic.pace = answer, 0.02
    monkeypatch.setenv("TUNEPORT_ANTHROPIC_BASE_URL", anthropic.base_url)
    monkeypatch.setenv("ANTHROPIC_API_KEY", anthropic.key)
    return anthropic


def evaluated(folder: Path, data: Path) -> tuple[Any, Evaluation]:
    with JobService(Settings.load(folder)) as opened:
        plan = plan_evaluation(opened, data, MODELS, judge=JUDGE)
        return plan, run_evaluation(opened, plan)


@pytest.mark.parametrize("table", ["", BATCHES], ids=["at once", "in batches"])
def test_claude_is_measured_and_judges(claude: AnthropicEmulator, isolated: Path, data: Path, table: str) -> None:
    from tests.support.anthropic_types import sdk_complaints  # a second to import

    (isolated / "tuneport.toml").write_text('[backends.fake]\nlike = "fake"\n' + table)
    plan, found = evaluated(isolated, data)
    assert plan.third_parties == ["Anthropic"]
    assert found.judgement is not None and found.judgement.count("first") == ROWS and found.judgement.refused == 0
    assert [answer.text for answer in found.models[1].said] == [str(n * 8) for n in range(ROWS)]
    assert found.models[1].usd_per_thousand
    judged = [body for body in asked_bodies(claude) if body["model"] == "claude-sonnet-5-5"]
    assert len(judged) == 2 * ROWS and {body["max_tokens"] for body in judged} == {THOUGHT_TOKENS}
    assert all("temperature" not in body for body in judged)
    assert claude.jobs_created == (2 if table else 0)
    assert claude.answered == 3 * ROWS + ALONE
    again = evaluated(isolated, data)[1]
    assert again.judgement is not None and again.judgement.cached == 2 * ROWS and claude.answered == 3 * ROWS + ALONE
    assert sdk_complaints(claude.log) == []


def asked_bodies(emulator: AnthropicEmulator) -> list[dict[str, Any]]:
    whole = [item.request_json() for item in emulator.requests("POST", "/messages")]
    batches = [item.request_json() for item in emulator.requests("POST", "/messages/batches")]
    return whole + [row["params"] for body in batches for row in body["requests"]]


def test_batches_cost_half_and_the_plan_says_so(isolated: Path, data: Path) -> None:
    def plan(table: str) -> tuple[float, float]:
        folder = isolated / ("in batches" if table else "at once")  # a project's file is read once
        folder.mkdir()
        (folder / "tuneport.toml").write_text('[backends.fake]\nlike = "fake"\n' + table)
        with JobService(Settings.load(folder)) as opened:
            found = plan_evaluation(opened, data, MODELS, judge=JUDGE)
        assert found.judge is not None and found.judge.usd and found.models[1].usd
        return found.models[1].usd, found.judge.usd

    (model, judge), (half, half_judge) = plan(""), plan(BATCHES)
    assert half_judge == pytest.approx(judge / 2)
    # The prompts that are asked once more by themselves, for the latency, are in no batch.
    assert model / 2 < half < model and half == pytest.approx(model * (ROWS / 2 + ALONE) / (ROWS + ALONE), rel=0.02)


def test_without_its_package_litellm_asks_it(isolated: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    installed = routing.find_spec
    monkeypatch.setattr(routing, "find_spec", lambda name: None if name == "anthropic" else installed(name))
    with JobService(Settings.load(isolated)) as opened:
        assert find_judge_model(opened, "anthropic/claude-haiku-4-5", []).where[0] == "litellm"


def test_a_judge_without_a_key_is_refused_before_anything_is_asked(isolated: Path, data: Path) -> None:
    (isolated / "tuneport.toml").write_text('[backends.fake]\nlike = "fake"\n')
    with JobService(Settings.load(isolated)) as opened:
        plan = plan_evaluation(opened, data, ["fake/a", "fake/b"], judge=JUDGE)
        with pytest.raises(ConfigError, match=f"{JUDGE} needs ANTHROPIC_API_KEY in the environment or .env"):
            run_evaluation(opened, plan)
