"""Claude as a model that is measured and as the judge: through the vendor's SDK, at the usual price and in batches."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

import tuneport
from tests.support.anthropic_types import sdk_complaints
from tests.support.commands import Run
from tuneport.backends import routing
from tuneport.errors import BudgetError, ConfigError
from tuneport.lifecycle.service import JobService
from tuneport.settings import Settings
from tuneport.testing.emulators import AnthropicEmulator
from tuneport.testing.emulators.anthropic.messages import count_emulated_input
from tuneport.workflows.evaluate import Evaluation, plan_evaluation, run_evaluation
from tuneport.workflows.evaluation.judging.judge_models import find_judge_model
from tuneport.workflows.evaluation.latency import ALONE
from tuneport.workflows.evaluation.models.planned_models import ESTIMATED, THOUGHT_TOKENS
from tuneport.workflows.evaluation.result import EvaluationPlan

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


# --- budgets: the input as Anthropic counts it -----------------------------------------------------------------------


@pytest.fixture
def project(isolated: Path) -> Path:
    (isolated / "tuneport.toml").write_text('[backends.fake]\nlike = "fake"\n')
    return isolated


def planned(data: Path, budget: float | None = 100.0, **options: Any) -> EvaluationPlan:
    """The plan as it was when the provider had counted."""
    counted: list[EvaluationPlan] = []
    tuneport.evaluate(data, options.pop("models", MODELS), budget=budget, on_counted=counted.append, **options)
    (plan,) = counted
    return plan


def count_requests(emulator: AnthropicEmulator) -> int:
    return len(emulator.requests("POST", "/messages/count_tokens"))


def test_a_budget_is_held_against_what_anthropic_counts(claude: AnthropicEmulator, project: Path, data: Path) -> None:
    counted: list[EvaluationPlan] = []
    report = tuneport.evaluate(data, MODELS, budget=100.0, on_counted=counted.append)
    model, said = counted[0].models[1], report.evaluation.models[1].said
    assert model.counting == "input as Anthropic counts it" and count_requests(claude) == ROWS
    billed = sum(each.prompt_tokens or 0 for each in [*said, *said[:ALONE]])  # some are asked twice
    assert model.input_tokens == billed > 0
    assert model.usd == pytest.approx((billed * 1.00 + model.output_tokens * 5.00) / 1e6)
    # The answers are known now: a judge's prompts can be counted to the last token, too.
    plan = planned(data, judge=JUDGE)
    assert plan.judge is not None and plan.judge.counting == "input as Anthropic counts it"
    judged = asked_bodies(claude)[ROWS + ALONE :]
    assert len(judged) == 2 * ROWS and count_requests(claude) == 3 * ROWS
    assert plan.judge.input_tokens == sum(map(count_emulated_input, judged))
    assert sdk_complaints(claude.log) == []


def test_the_count_decides_and_not_the_estimate(claude: AnthropicEmulator, project: Path, data: Path) -> None:
    with JobService(Settings.load(project)) as opened:
        estimate = plan_evaluation(opened, data, MODELS).models[1].usd
    seen: list[EvaluationPlan] = []
    with pytest.raises(BudgetError, match=r"may cost \$.* \(input as Anthropic counts it\), above the budget of \$0;"):
        tuneport.evaluate(data, MODELS, budget=0.0, on_counted=seen.append)
    exact = seen[0].models[1].usd
    assert exact is not None and estimate is not None and exact < estimate and claude.answered == 0
    assert planned(data, (exact + estimate) / 2).models[1].usd == exact


def test_an_estimate_has_to_do_where_anthropic_does_not_count(
    claude: AnthropicEmulator, project: Path, data: Path
) -> None:
    with JobService(Settings.load(project)) as opened:
        estimate = plan_evaluation(opened, data, MODELS).models[1]
    claude.fail(path="/messages/count_tokens", status=403, times=None)
    with pytest.raises(BudgetError, match=f"{ESTIMATED}, as Anthropic did not count it: .*, above the budget"):
        planned(data, 0.0)
    model = planned(data).models[1]
    assert model.counting.startswith(f"{ESTIMATED}, as Anthropic did not count it: ")
    assert (model.input_tokens, model.usd) == (estimate.input_tokens, estimate.usd)


def test_nothing_is_sent_to_be_counted_before_the_users_word(
    claude: AnthropicEmulator, project: Path, data: Path, run: Run
) -> None:
    command = ("eval", str(data), *MODELS, "--budget", "100")
    code, _, error = run(*command)
    assert code == 2 and "send 8 rows to Anthropic? Say so with --yes" in error and claude.log == []
    private = data.with_name("private.jsonl")
    turns = [{"role": "user", "content": "Write to ada@lovelace-works.com"}, {"role": "assistant", "content": "1"}]
    private.write_text(json.dumps({"messages": turns}) + "\n")
    code, _, error = run("eval", str(private), *MODELS, "--budget", "100", "--yes")
    assert code == 2 and "looks like personal data" in error and claude.log == []
    tuneport.evaluate(data, ["fake/guesses", JUDGE], rows=2)
    assert claude.answered and count_requests(claude) == 0, "there is no budget"
    code, _, error = run(*command, "--yes")
    assert code == 0 and count_requests(claude) == ROWS, error
    assert re.search(
        r"claude-haiku-4-5: [\d,]+ tokens in, at most \$0\.\d+; input as Anthropic counts it$", error, re.M
    )


def test_answers_with_personal_data_are_not_sent_to_be_counted(
    claude: AnthropicEmulator, project: Path, data: Path
) -> None:
    answer, address = claude.answer, "eve@company-of-eve.com"
    claude.answer = lambda asked: f"Ask {address}" if "<answer>" not in asked else answer(asked)
    models = ["anthropic/claude-haiku-4-5", "fake/guesses"]
    tuneport.evaluate(data, models)
    seen: list[EvaluationPlan] = []
    with pytest.raises(ConfigError, match="holds what looks like personal data"):
        tuneport.evaluate(data, models, judge=JUDGE, budget=100.0, on_counted=seen.append)
    assert (
        seen[0].judge is not None
        and seen[0].judge.counting == f"{ESTIMATED}, as it holds what looks like personal data"
    )
    assert count_requests(claude) == 0
    plan = planned(data, judge=JUDGE, models=models, allow_personal_data=True)
    assert plan.judge is not None and plan.judge.counting == "input as Anthropic counts it"


def test_who_counts_no_tokens_is_sent_nothing_above_the_budget(project: Path, data: Path) -> None:
    asked: list[EvaluationPlan] = []
    with pytest.raises(BudgetError, match=rf"\({ESTIMATED}\), above the budget of \$0;"):
        tuneport.evaluate(data, ["openai/gpt-4.1-mini"], budget=0.0, before=asked.append, on_counted=asked.append)
    assert asked == []
