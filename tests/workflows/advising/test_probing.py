"""Measuring the base model before advice: what is drawn, what is sent, what it means."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any, cast

import pytest

import tuneport
from tests.support.emulated import LeadTo
from tests.support.folders import FIXTURES
from tests.workflows.test_advise import write
from tuneport.advisor import Approach, Tried
from tuneport.backends.base import FineTuneBackend
from tuneport.data.rows.text import normalise_record_text
from tuneport.errors import BudgetError, ConfigError
from tuneport.scoring.accuracy import AccuracyScore
from tuneport.testing.emulators import OpenAIEmulator
from tuneport.types import Completion
from tuneport.workflows.advise import gather_advice_facts, probe_quote
from tuneport.workflows.advising.probing import AdvisingProbePlan, probe_result, run_probe

TRAIN = FIXTURES / "datasets" / "support_intents.train.jsonl"
TEST = FIXTURES / "datasets" / "support_intents.test.jsonl"
MODEL = "gpt-4.1-mini"


class Knowing:
    """Answers the way `says` does, and keeps what it was asked."""

    name = "knowing"

    def __init__(self, says: dict[str, str], *, only_with_shots: bool = False) -> None:
        self.says, self.only_with_shots = says, only_with_shots
        self.asked: list[list[dict[str, Any]]] = []

    def complete_many(
        self, model: str, conversations: Sequence[list[dict[str, Any]]], **options: Any
    ) -> Iterator[Completion]:
        for messages in conversations:
            self.asked.append(messages)
            shown = any(message["role"] == "assistant" for message in messages)
            silent = self.only_with_shots and not shown
            text = "I cannot say" if silent else self.says.get(messages[-1]["content"], "?")
            yield Completion(text=text, model=model)


def plan_of(path: Path, **options: Any) -> AdvisingProbePlan:
    validation = options.pop("validation", None)
    look = of_the_repository if path == TRAIN else gather_advice_facts
    return look(path, needs=("task",), validation=validation).plan_probe(MODEL, "openai", **options)


of_the_repository = cache(gather_advice_facts)  # a plan changes nothing of it


def answers(path: Path) -> dict[str, str]:
    rows = [json.loads(line)["messages"] for line in path.read_text().splitlines()]
    return {row[-2]["content"]: row[-1]["content"] for row in rows}


@pytest.fixture
def openai(lead_to: LeadTo) -> OpenAIEmulator:
    pytest.importorskip("openai", reason="an extra: pip install 'tuneport[openai]'")
    return lead_to(OpenAIEmulator())


@pytest.mark.parametrize("validation", [TEST, None])
def test_no_shot_is_among_the_rows_nor_like_one(validation: Path | None) -> None:
    drawn = plan_of(TRAIN, validation=validation, rows=40).drawn
    assert len(drawn.rows) == 40 and drawn.of == (80 if validation else 240)
    assert {shot.expected for shot in drawn.shots} == set(answers(TRAIN).values())  # one of each label
    asked = {normalise_record_text(row.prompt) for row in drawn.rows}
    assert len(asked) == 40 and not asked & {normalise_record_text(shot.prompt) for shot in drawn.shots}
    assert drawn.nearest < 0.75
    source = answers(validation or TRAIN)
    assert all(source[row.prompt] == row.expected for row in drawn.rows)


def test_inputs_that_are_nearly_a_row_are_no_shots(tmp_path: Path) -> None:
    """All inputs are one of three sentences but for space and case, or a word at the end."""
    long = "the parcel that I ordered on Monday last week has still not come to my door at home"
    pairs = [(f"{long} {number % 3}", "late") for number in range(30)] + [("Thank you so much!", "praise")] * 8
    drawn = plan_of(write(tmp_path / "data.jsonl", pairs), rows=30).drawn
    assert drawn.of == 4 and drawn.shots == ()


def test_the_prompt_says_the_labels_where_the_data_does_not(tmp_path: Path) -> None:
    drawn = plan_of(TRAIN, validation=TEST, rows=10).drawn
    assert "account, cancel, damaged" in drawn.instruction
    assert all(row.messages[0]["content"].endswith(drawn.instruction) for row in drawn.rows)
    own = plan_of(TRAIN, validation=TEST, rows=10, system="Say the intent.").drawn
    assert own.instruction == "" and {row.messages[0]["content"] for row in own.rows} == {"Say the intent."}
    pairs = [(f"Order {n} of {n + 1} chairs", json.dumps({"order": n, "count": n + 1})) for n in range(40)]
    extraction = plan_of(write(tmp_path / "data.jsonl", pairs), rows=10).drawn
    assert extraction.instruction.endswith("with the keys: order, count.")


def test_the_same_seed_draws_the_same() -> None:
    first, again, other = (plan_of(TRAIN, rows=20, seed=seed) for seed in (1, 1, 2))
    assert first == again and first != other


def test_what_is_measured_goes_into_the_tree() -> None:
    facts = gather_advice_facts(TRAIN, needs=["task"], validation=TEST, prompt="works")
    plan = facts.plan_probe(MODEL, "openai", rows=40)
    backend = Knowing(answers(TEST), only_with_shots=True)
    probe = run_probe(plan, cast(FineTuneBackend, backend))
    assert probe.results == {"prompt": Tried.FAILS, "few_shot": Tried.WORKS}
    assert "base: 0 of 40 right" in probe.evidence and "few-shot: 40 of 40 right" in probe.evidence
    assert len(backend.asked) == plan.prompts == 80
    shown = {message["content"] for asked in backend.asked for message in asked[:-1] if message["role"] == "user"}
    assert shown == {shot.prompt for shot in plan.drawn.shots}


@pytest.mark.parametrize(
    ("correct", "total", "chance", "result"),
    [
        (47, 50, 0.2, Tried.WORKS),
        (9, 10, 0.2, Tried.PARTLY),  # too few rows to be sure of it
        (30, 50, 0.2, Tried.PARTLY),
        (30, 50, 0.6, Tried.FAILS),  # as good as always giving the commonest answer
        (48, 50, 0.96, Tried.FAILS),
        (10, 50, 0.02, Tried.FAILS),
    ],
)
def test_what_a_share_means(correct: int, total: int, chance: float, result: Tried) -> None:
    assert probe_result(AccuracyScore(correct, total), chance) is result


def test_a_person_judges_open_answers(tmp_path: Path) -> None:
    pairs = [(f"Tell me of thing {n}.", f"Arr, thing {n} be a fine one, says old captain {n}.") for n in range(40)]
    facts = gather_advice_facts(write(tmp_path / "data.jsonl", pairs), needs=["style"], prompt="fails")
    says = {question: answer for question, answer in pairs}
    probe = run_probe(facts.plan_probe(MODEL, "openai", rows=20), cast(FineTuneBackend, Knowing(says)))
    assert probe.measured[0].score.accuracy == 1 and probe.results == {}
    assert probe.answers[0]["base"] == probe.answers[0]["expected"]


def test_it_is_asked_on_the_wire_and_said_to_be_measured(openai: OpenAIEmulator) -> None:
    made = tuneport.advise(
        TRAIN, need=["task"], validation=TEST, prompt="works", probe=True, model=MODEL, backend="openai", rows=10
    )
    asked = [entry for entry in openai.log if entry.path.endswith("/chat/completions")]
    assert len(asked) == 20
    assert made.situation.prompt is Tried.FAILS and made.advice.approach is Approach.FINE_TUNE
    assert made.notes == ("prompt: works was stated, fails was measured; the measurement counts",)
    document = json.loads(json.dumps(made.as_dict()))
    assert document["probe"]["results"] == {"prompt": "fails", "few_shot": "fails"}
    assert document["probe"]["scores"][0]["high"] < 0.5


def test_the_price_is_known_before_and_a_budget_holds(openai: OpenAIEmulator) -> None:
    facts = gather_advice_facts(TRAIN, needs=["task"], validation=TEST)
    plan = facts.plan_probe(MODEL, "openai", rows=10)
    quote = probe_quote(plan)
    # $0.40 and $1.60 per 1M: the vendor's price of the base model, as litellm's table has it.
    assert quote.expected == pytest.approx((plan.input_tokens * 0.4 + plan.output_tokens * 1.6) / 1e6)
    assert quote.high == pytest.approx((plan.input_tokens * 0.4 + plan.most_output_tokens * 1.6) / 1e6)
    with pytest.raises(BudgetError, match="above the budget"):
        facts.run_probe(plan, budget=0.0)
    assert not openai.log


def test_personal_data_is_not_sent_to_a_third_party(openai: OpenAIEmulator, tmp_path: Path) -> None:
    pairs = [(f"Where is my order {n}? Write to jan.kowalski{n}@gmail.com", ["late", "lost"][n % 2]) for n in range(40)]
    asked = {"need": ["task"], "probe": True, "model": MODEL, "backend": "openai", "rows": 5}
    path = write(tmp_path / "data.jsonl", pairs)
    with pytest.raises(ConfigError, match=r"personal data .*OpenAI is a third party"):
        tuneport.advise(path, **asked)  # type: ignore[arg-type]
    assert not openai.log
    assert tuneport.advise(path, allow_personal_data=True, **asked).probe is not None  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("dataset", "model", "message"), [(None, MODEL, "give DATA"), (TRAIN, None, "say which with --model")]
)
def test_a_probe_needs_data_and_a_model(dataset: Path | None, model: str | None, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        gather_advice_facts(dataset, needs=["task"]).plan_probe(model)


def test_answers_that_nobody_has_judged_are_said_to_be(openai: OpenAIEmulator, tmp_path: Path) -> None:
    pairs = [(f"Tell me of thing {n}.", f"Arr, thing {n} be a fine one, says old captain {n}.") for n in range(20)]
    asked = {"need": ["style"], "probe": True, "model": MODEL, "backend": "openai", "rows": 5}
    made = tuneport.advise(write(tmp_path / "data.jsonl", pairs), **asked)  # type: ignore[arg-type]
    assert made.situation.prompt is Tried.NO and any("are not judged yet" in note for note in made.notes)
    judged = tuneport.advise(tmp_path / "data.jsonl", prompt="partly", **asked)  # type: ignore[arg-type]
    assert judged.situation.prompt is Tried.PARTLY and not any("nobody" in note for note in judged.notes)
