"""A model judges two others: what it costs before, who won, whether it prefers a place, and nothing is paid twice."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.support.evaluations import report
from tuneport.errors import AuthError, BudgetError, ConfigError, ModelNotOfferedError, UnavailableError
from tuneport.lifecycle.service import JobService
from tuneport.scoring.judge import parse_judge_reason
from tuneport.settings import Settings
from tuneport.testing.emulators import OpenAIEmulator, inference
from tuneport.testing.fake.backend import FakeBackend
from tuneport.workflows.evaluate import Evaluation, plan_evaluation, run_evaluation
from tuneport.workflows.evaluation.judging.judge_models import find_judge_model
from tuneport.workflows.evaluation.judging.judgement import EvaluationJudgement
from tuneport.workflows.evaluation.report.page import render_evaluation_page

ROWS, EQUAL = 30, 4
MODELS = ["fake/weak", "fake/strong"]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    path = tmp_path / "sums.jsonl"
    with path.open("w") as file:
        for n in range(ROWS):
            turns = [
                {"role": "user", "content": f"What is {n} plus {n * 7}?"},
                {"role": "assistant", "content": f"{n * 8}"},
            ]
            file.write(json.dumps({"messages": turns}) + "\n")
    return path


@pytest.fixture
def judged_by(isolated: Path, monkeypatch: pytest.MonkeyPatch) -> list[Callable[[str], str]]:
    """What models of the backend `fake` say: strong is right, weak knows the first rows only; and `judge` says what the
    last function here makes of the two answers."""
    judges: list[Callable[[str], str]] = [by_content]

    def answer(backend: FakeBackend, model: str, turns: Any) -> str:
        text = str(turns[-1]["content"])
        if "judge" in model:
            return judges[-1](text)
        n = int(text.split()[2])
        return str(n * 8) if "strong" in model or n < EQUAL else f"I guess {n}."

    monkeypatch.setattr(FakeBackend, "_answer", answer)
    monkeypatch.setenv("TUNEPORT_BACKEND", "fake")
    return judges


@pytest.fixture
def workspace(isolated: Path, judged_by: object) -> Iterator[JobService]:
    with JobService(Settings.load(isolated)) as opened:
        yield opened


def by_content(prompt: str) -> str:
    first = prompt.split("<answer>\n")[1].split("\n</answer>")[0]
    better, worse = ("A", "B") if first.isdigit() else ("B", "A")
    return f"Answer {better} has the number, {worse} guesses.\n\nVERDICT: {better}"


def judged(workspace: JobService, data: Path, judge: str = "fake/judge", **options: Any) -> EvaluationJudgement:
    found = run_evaluation(workspace, plan_evaluation(workspace, data, MODELS, judge=judge, **options))
    assert found.judgement is not None
    return found.judgement


def test_the_better_model_wins_by_a_real_sdk_and_is_not_asked_about_twice(
    workspace: JobService, data: Path, isolated: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []

    def answer(rows: Any, messages: list[dict[str, Any]]) -> dict[str, Any]:
        assert "Prefer the number." in messages[0]["content"]
        said.append(messages[1]["content"])
        return {"role": "assistant", "content": by_content(said[-1])}

    monkeypatch.setattr(inference, "emulated_answer", answer)
    with OpenAIEmulator() as openai:
        monkeypatch.setenv("TUNEPORT_OPENAI_BASE_URL", openai.base_url)
        monkeypatch.setenv("OPENAI_API_KEY", openai.key)
        with JobService(Settings.load(isolated)) as opened:
            options: dict[str, Any] = {"judge": "openai/gpt-4.1-mini", "rubric": "Prefer the number."}
            plan = plan_evaluation(opened, data, MODELS, **options)
            before = plan.judge
            assert before is not None and plan.third_parties == ["OpenAI"] and not before.counted
            assert before.waiting == 2 * ROWS and before.usd is not None and 0 < before.usd < 0.1
            with pytest.raises(BudgetError, match="above the budget"):
                plan.refuse_over_budget(0.9 * before.usd)
            found = run_evaluation(opened, plan).judgement
            assert found is not None and found.judged is not None and len(said) == 2 * (ROWS - EQUAL)
            assert (found.judged.verdict, found.judged.wins, found.judged.first_place) == ("better", 1.0, 0.5)
            assert (found.count("first"), found.identical, found.flaw) == (ROWS - EQUAL, EQUAL, "")
            assert (
                parse_judge_reason(found.pairs[0].in_order) == "Answer A has the number, B guesses."
                and found.pairs[0].line == EQUAL + 1
            )
            document = json.loads(json.dumps(found.as_dict()))
            assert document["pairs"][0]["winner"] == "fake/strong" and not document["position_bias"]
            after = plan_evaluation(opened, data, MODELS, **options).judge
            assert after is not None and (after.counted, after.waiting, after.usd) == (True, 0, 0.0)
            assert after.kept == len(said) and after.third_party is None
            again = judged(opened, data, **options)
            assert again.cached == len(said) == 2 * (ROWS - EQUAL) and again.judged == found.judged
            other = plan_evaluation(opened, data, MODELS, **options | {"rubric": "Prefer brevity."}).judge
            assert other is not None and other.waiting == len(said) and other.usd is not None
            assert 0 < other.usd < before.usd, "the answers are known by now"


def test_a_judge_that_prefers_a_place_is_told_and_decides_nothing(
    workspace: JobService, data: Path, judged_by: list[Callable[[str], str]]
) -> None:
    judged_by.append(lambda prompt: "The first.\nVERDICT: A")
    found = judged(workspace, data)
    assert found.judged is not None and found.judged.position_bias and found.judged.verdict == "no difference shown"
    assert found.count("tie") == found.judged.inconsistent == ROWS - EQUAL
    assert found.position.startswith("Position bias: the answer that is shown first gets 100% of its preferences")
    assert "p < 0.001" in found.position and found.flaw.startswith("it prefers a position")


def test_what_a_judge_does_not_say_in_the_asked_form_is_counted_not_guessed(
    workspace: JobService, data: Path, judged_by: list[Callable[[str], str]]
) -> None:
    judged_by.append(lambda prompt: "I like both." if "plus 70?" in prompt else by_content(prompt))
    found = judged(workspace, data)
    assert found.judged is not None and found.judged.unclear == 2 and found.count(None) == 1 and found.judged.wins == 1
    assert found.unanswered.startswith("2 of its 52 judgements have no line VERDICT")
    judged_by.append(lambda prompt: "I like both.")
    silent = judged(workspace, data, rubric="Other.")
    assert silent.judged is not None and silent.judged.verdict == "no difference shown"
    assert (
        silent.flaw == "52 of its 52 judgements have no verdict" and silent.judged.low == 0 and silent.judged.high == 1
    )


def test_stopped_after_half_the_other_half_is_paid(
    workspace: JobService, data: Path, judged_by: list[Callable[[str], str]]
) -> None:
    asked: list[str] = []

    def tired(prompt: str) -> str:
        asked.append(prompt)
        if len(asked) > 26:
            raise UnavailableError("away", provider="fake", http_status=503)
        return by_content(prompt)

    judged_by.append(tired)
    with pytest.raises(UnavailableError):
        judged(workspace, data)
    more: list[str] = []
    judged_by.append(lambda prompt: more.append(prompt) or by_content(prompt))  # type: ignore[func-returns-value]
    found = judged(workspace, data)
    assert (found.cached, len(more)) == (26, 26) and found.count("first") == ROWS - EQUAL
    assert not set(more) & set(asked[:26])


def test_answers_with_personal_data_do_not_leave(
    isolated: Path, judged_by: object, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(FakeBackend, "_answer", lambda backend, model, turns: f"Ask ada@lovelace-works.com, {model}")
    monkeypatch.setenv("OPENAI_API_KEY", "sk-none")
    with JobService(Settings.load(isolated)) as workspace:
        plan = plan_evaluation(workspace, data, MODELS, judge="openai/gpt-4.1-mini")
        plan.refuse_personal_data()  # the rows have none
        with pytest.raises(
            ConfigError, match=r"answer of fake/strong to line 1 .* the judge, OpenAI, is a third party"
        ):
            run_evaluation(workspace, plan)


class Anthropic(BaseHTTPRequestHandler):
    """Speaks as much of Anthropic's Messages API as litellm asks; the key `sk-right` is accepted."""

    def do_POST(self) -> None:
        given = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        text = by_content("".join(part["text"] for part in given["messages"][-1]["content"]))
        answer: dict[str, Any] = {
            "id": "msg_1",
            "type": "message",
            "role": "assistant",
            "model": given["model"],
            "content": [{"type": "text", "text": text}],
            "stop_reason": "end_turn",
            "usage": {"input_tokens": 90, "output_tokens": 12},
        }
        right = self.headers["x-api-key"] == "sk-right" and self.path == "/v1/messages" and given["system"]
        if not right:
            answer = {"type": "error", "error": {"type": "authentication_error", "message": "invalid x-api-key"}}
        body = json.dumps(answer).encode()
        self.send_response(200 if right else 401)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None: ...


def test_a_judge_that_only_litellm_knows(
    isolated: Path, judged_by: object, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    judge = "litellm/anthropic/claude-sonnet-4-5"  # with another name it is asked through the vendor's own SDK

    def evaluated(key: str | None) -> Evaluation:
        (isolated / ".env").write_text("" if key is None else f"ANTHROPIC_API_KEY={key}\n")
        with JobService(Settings.load(isolated)) as opened:
            plan = plan_evaluation(opened, data, MODELS, judge=judge, most=8)
            assert plan.third_parties == ["anthropic, through litellm"] and plan.judge is not None
            assert plan.judge.usd is not None and plan.judge.usd > 0
            return run_evaluation(opened, plan)

    with pytest.raises(ConfigError, match="needs ANTHROPIC_API_KEY in the environment"):
        evaluated(None)
    server = ThreadingHTTPServer(("127.0.0.1", 0), Anthropic)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        monkeypatch.setenv("ANTHROPIC_API_BASE", f"http://127.0.0.1:{server.server_port}")
        with pytest.raises(
            AuthError, match="anthropic refuses the key for anthropic/claude-sonnet-4-5; check ANTHROPIC_API_KEY"
        ):
            evaluated("sk-wrong")
        found = evaluated("sk-right").judgement
    finally:
        server.shutdown()
        server.server_close()
    assert found is not None and found.judged is not None and found.judged.wins == 1 and found.refused == 0


@pytest.mark.parametrize(
    ("name", "where"),
    [
        ("fake/tiny", ("fake", None, "tiny")),
        ("openai/gpt-4.1-mini", ("openai", "https://api.openai.com/v1", "gpt-4.1-mini-2025-04-14")),
        ("openai/gpt-5.1", ("litellm", "https://api.openai.com/v1", "openai/gpt-5.1")),
        ("anthropic/claude-haiku-4-5", ("anthropic", "https://api.anthropic.com", "claude-haiku-4-5")),
        ("anthropic/claude-of-tomorrow", ("anthropic", "https://api.anthropic.com", "claude-of-tomorrow")),
        ("litellm/anthropic/claude-haiku-4-5", ("litellm", None, "anthropic/claude-haiku-4-5")),
        ("claude-sonnet-4-5", ("litellm", None, "claude-sonnet-4-5")),
        ("litellm/unheard/of", ("litellm", None, "unheard/of")),
    ],
)
def test_whom_a_name_means(isolated: Path, name: str, where: tuple[str, str | None, str]) -> None:
    (isolated / "tuneport.toml").write_text('[backends.fake]\nlike = "fake"\n')
    with JobService(Settings.load(isolated)) as opened:
        assert find_judge_model(opened, name, MODELS).where == where


def test_names_that_are_nobodys_and_prices_that_nobody_knows(workspace: JobService, data: Path) -> None:
    with pytest.raises(ModelNotOfferedError):
        find_judge_model(workspace, "openai/gpt-of-tomorrow", MODELS)
    with pytest.raises(ConfigError, match="write litellm/PROVIDER/MODEL"):
        find_judge_model(workspace, "litellm/nobody", MODELS)
    with pytest.raises(ConfigError, match="name two"):
        plan_evaluation(workspace, data, MODELS[:1], judge="fake/judge")
    plan = plan_evaluation(workspace, data, MODELS, judge="litellm/anthropic/claude-of-tomorrow")
    assert plan.judge is not None and plan.judge.usd is None and "no price per token" in plan.judge.why
    with pytest.raises(BudgetError, match="the price of the judge litellm/anthropic/claude-of-tomorrow is unknown"):
        plan.refuse_over_budget(100)


def test_of_equal_answers_nothing_is_asked(
    workspace: JobService, data: Path, judged_by: list[Callable[[str], str]]
) -> None:
    judged_by.append(lambda prompt: pytest.fail("there was nothing to ask"))
    data.write_text(data.read_text().splitlines()[0] + "\n")
    found = run_evaluation(workspace, plan_evaluation(workspace, data, MODELS, judge="fake/judge"))
    assert found.judgement is not None and found.judgement.judged is None and found.judgement.identical == 1
    assert found.judgement.as_dict()["judgements"] == 0 and found.judgement.flaw == ""
    page = render_evaluation_page(report(found))
    assert "What a judge says" in page and "gave equal answers to all 1 rows: nothing was asked" in page
