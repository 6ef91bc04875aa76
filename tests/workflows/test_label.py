"""label: a large model's answers for a dataset, in batches, with the earlier ones beside them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import tuneport
from tests.support.anthropic_types import sdk_complaints
from tests.support.commands import Run
from tuneport.errors import BudgetError, ConfigError, ConversionLossError
from tuneport.testing.emulators import AnthropicEmulator
from tuneport.workflows.label import LabelPlan

MODEL = "anthropic/claude-haiku-4-5"
LABELS = ["billing", "shipping"]


@pytest.fixture
def claude(anthropic: AnthropicEmulator, isolated: Path, monkeypatch: pytest.MonkeyPatch) -> AnthropicEmulator:
    (isolated / "tuneport.toml").write_text("[backends.anthropic.options]\nbatch_poll_interval = 0.01\n")
    anthropic.answer = lambda asked: "Shipping" if "parcel" in asked else "billing" if "bill" in asked else "Who knows?"
    anthropic.pace = 0.02
    monkeypatch.setenv("TUNEPORT_ANTHROPIC_BASE_URL", anthropic.base_url)
    monkeypatch.setenv("ANTHROPIC_API_KEY", anthropic.key)
    return anthropic


def written(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def chat(asked: str, answer: str | None = None, **columns: Any) -> dict[str, Any]:
    turns = [{"role": "system", "content": "Sort it."}, {"role": "user", "content": asked}]
    return {"messages": turns + ([] if answer is None else [{"role": "assistant", "content": answer}]), **columns}


@pytest.fixture
def data(tmp_path: Path) -> Path:
    made = [chat("my parcel", "billing", id=7), chat("my bill"), chat("the moon"), chat("a parcel", "shipping")]
    return written(tmp_path / "mixed.jsonl", made)


def test_claude_labels_in_batches_and_the_earlier_answers_stay(claude: AnthropicEmulator, data: Path) -> None:
    out = data.with_name("out.jsonl")
    report = tuneport.label(data, MODEL, out, labels=LABELS)
    assert claude.jobs_created == 1 and claude.requests("POST", "/messages") == [] and report.in_batches
    assert rows(out) == [
        chat("my parcel", "shipping", id=7, earlier_answer="billing"),
        chat("my bill", "billing"),
        chat("a parcel", "shipping", earlier_answer="shipping"),
    ]
    assert (report.written, report.had_answer, report.agree, report.no_label) == (3, 2, 1, 1)
    (batch,) = claude.requests("POST", "/messages/batches")
    assert all("billing, shipping" in json.dumps(each["params"]["system"]) for each in batch.request_json()["requests"])
    answered = claude.answered
    again = tuneport.label(data, MODEL, out, labels=LABELS)
    assert again.cached == 4 and claude.answered == answered
    assert sdk_complaints(claude.log) == []


def test_batches_are_priced_at_half_and_now_asks_at_once(claude: AnthropicEmulator, data: Path) -> None:
    plans: list[LabelPlan] = []

    def stop(plan: LabelPlan) -> None:
        plans.append(plan)
        raise ConfigError("seen")

    for now in (False, True):
        with pytest.raises(ConfigError, match="seen"):
            tuneport.label(data, MODEL, data.with_name("out.jsonl"), now=now, before=stop)
    half, whole = (plan.answers.usd for plan in plans)
    assert half and whole and half == pytest.approx(whole / 2)
    with pytest.raises(BudgetError, match="above the budget"):
        tuneport.label(data, MODEL, data.with_name("out.jsonl"), budget=half / 2)
    tuneport.label(data, MODEL, data.with_name("out.jsonl"), now=True, budget=whole)
    assert claude.jobs_created == 0 and len(claude.requests("POST", "/messages")) == 4


def test_nothing_is_sent_or_replaced_without_the_users_word(claude: AnthropicEmulator, data: Path, run: Run) -> None:
    out = data.with_name("out.jsonl")
    command = ("label", str(data), "-m", MODEL, "-o", str(out), "--labels", "billing,shipping")
    code, _, error = run(*command)
    assert code == 2 and "send 4 prompts to Anthropic? Say so with --yes" in error and "cost: at most $" in error
    private = written(data.with_name("private.jsonl"), [chat("write to ada@lovelace-works.com", "shipping")])
    code, _, error = run("label", str(private), "-m", MODEL, "-o", str(out), "--yes")
    assert code == 2 and "looks like personal data" in error and claude.log == [] and not out.exists()
    code, shown, error = run(*command, "--yes")
    assert code == 0, error
    assert "3 of 4 records" in shown and "1 of 2 agree" in shown and "1 none of the labels" in shown
    assert max(map(len, shown.splitlines()[1:])) <= 80
    code, _, error = run(*command, "--yes")
    assert code == 2 and "--force" in error
    code, document, _ = run(*command, "--force", "--json")
    assert code == 0 and document["cached"] == 4


def test_what_would_be_lost_is_told_before_anything_is_paid(claude: AnthropicEmulator, tmp_path: Path) -> None:
    pair = {"prompt": "Who?", "chosen": "Ada.", "rejected": "Bob."}
    data, out = written(tmp_path / "pairs.jsonl", [pair] * 2), tmp_path / "out.jsonl"
    with pytest.raises(ConversionLossError), pytest.MonkeyPatch.context() as patch:
        patch.setattr("tuneport.workflows.label.plan_model_answers", lambda *_, **__: pytest.fail("planned"))
        mixed = written(tmp_path / "mixed.jsonl", [pair, pair | {"chosen": ""}])
        tuneport.label(mixed, MODEL, out, keep_answers=True)
    assert claude.log == []
    tuneport.label(data, MODEL, out)
    assert rows(out)[0]["earlier_answer"] == "Ada." and rows(out)[0]["earlier_rejected"] == "Bob."


@pytest.fixture
def fake(isolated: Path) -> Path:
    (isolated / "tuneport.toml").write_text('[backends.fake]\nlike = "fake"\n')
    return isolated


def test_prompts_alone_and_kept_answers(fake: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    prompts = written(tmp_path / "prompts.jsonl", [{"prompt": "One?"}, {"prompt": "Two?"}])
    assert tuneport.label(prompts, "fake/large", out).written == 2
    assert [row["messages"][0]["content"] for row in rows(out)] == ["One?", "Two?"]
    mixed = written(tmp_path / "mixed.jsonl", [chat("Who?", "Ada wrote the first program, long ago."), chat("When?")])
    report = tuneport.label(mixed, "fake/large", out, keep_answers=True, system="Be brief.")
    kept, made = rows(out)
    assert kept == chat("Who?", "Ada wrote the first program, long ago.") and (report.kept, report.asked) == (1, 1)
    assert made["messages"][:2] == chat("When?")["messages"] and made["messages"][2]["content"]
