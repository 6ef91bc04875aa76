"""eval as people and CI have it: 80 columns, one document, an exit code."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.support.commands import Finish, Run
from tests.support.document import Document
from tests.support.folders import FIXTURES
from tuneport.testing.fake.backend import FakeBackend

TRAIN = str(FIXTURES / "datasets" / "support_intents.train.jsonl")
TEST = str(FIXTURES / "datasets" / "support_intents.test.jsonl")


@pytest.fixture
def job(finished: Finish) -> str:
    return finished(TRAIN, "--backend", "fake", "--model", "tiny")


def test_a_table_for_people_and_a_gate_for_ci(run: Run, job: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    asked = (TEST, "base", "base few-shot", job, "--fail-under", "accuracy=0.1", "--pairs", "pairs.jsonl")
    code, out, error = run("eval", *asked)
    assert code == 0 and "for people: `tuneport rate pairs.jsonl`" in error, error
    assert max(map(len, out.splitlines())) <= 80
    assert "better (p < 0.001)" in out and "no difference shown" in out and "FIRST TOKEN" in out
    told = " ".join(out.split())
    assert f"Ship: tiny tuned on support_intents.train ({job}), on support_intents.test" in told
    assert f"the most frequent class, 12% of support_intents.train.jsonl of {job}; no model is asked" in told
    assert "+ score: it is better" in out and "· forgetting: not measured" in out
    assert "80 rows; none of them is in the training data" in error and "base: 80 of 80 answers" in error
    code, document, error = run("eval", TEST, job, "--fail-under", "accuracy=0.99", "--fail-under", "bleu=0", "--json")
    assert code == 4 and len(document["failing"]) == 1 and "below the limit: accuracy of" in error
    assert document["decision"]["ruling"] == "do not ship" and document["training"][job]["job"] == job
    assert document["models"][0]["cached"] == 80 and set(document["scores"][job]) == {"accuracy", "macro_f1", "bleu"}
    gates = ("--rows", "20", "--fail-on", "forgetting")
    code, document, error = run("eval", TEST, "base", job, *gates, "--fail-on", "do-not-ship", "--json")
    assert code == 0 and document["failing"] == [] and document["general_ability"][job]["forgetting"] is False, error
    code, document, error = run("eval", TEST, "base", job, *gates, "--fail-on", "not-sure", "--json")
    assert code == 4 and f"below the limit: the ruling on {job} is: not sure" in error and len(document["failing"]) == 1
    code, _, error = run("eval", TEST, "base", job, "base few-shot", *gates)
    assert code == 2 and "--fail-on forgetting: base few-shot is compared with itself" in error
    code, document, _ = run("rate", "pairs.jsonl", "--results", "--json")
    assert document["names"] == {"a": "base", "b": job} and document["pairs"] + document["identical"] == 80
    code, _, error = run("eval", TEST, job, "--pairs", "pairs.jsonl")
    assert code == 2 and "name two" in error
    code, _, error = run("eval", TEST, job, "base", "--pairs", TEST)
    assert code == 2 and "support_intents.test.jsonl" in error
    code, _, error = run("eval", TEST, job, "--fail-under", "accuracy")
    assert code == 2 and "write --fail-under exact_match=0.85" in error
    code, _, error = run("eval", TEST, job, "--fail-under", "accuracy=nan")
    assert code == 2 and "accuracy=nan is not a limit" in error
    for option in ("--html", "--pairs"):
        code, _, error = run("eval", TEST, "base", job, option, "nowhere/out", "--json")
        assert code == 2 and "nowhere: the folder does not exist" in error and "answers" not in error


def test_the_report_is_one_page_beside_the_table(run: Run, job: str, tmp_path: Path) -> None:
    page = tmp_path / "report.html"
    code, document, error = run("eval", TEST, "base", job, "--general", "--html", str(page), "--json")
    assert code == 0 and str(page) in error
    assert document["general_ability"][job]["changes"] and document["decision"]["model"] == job
    written = Document(page.read_text(encoding="utf-8"))
    written.expect_no_way_out()
    shown = " ".join(written.texts)
    assert "Forgetting and safety" in shown and "Loss curves" in shown and "Where it beats base" in shown
    code, _, error = run("eval", TEST, job, "--html", TEST)
    assert code == 2 and "is the input" in error


def test_an_interval_that_nobody_knows_is_none_in_json_and_said_in_words(run: Run, job: str, isolated: Path) -> None:
    (isolated / "constant.py").write_text("def three(example, answer): return 3.0\n")
    asked = ("eval", TEST, "base", job, "--rows", "5", "--metric", "constant:three")
    code, document, _ = run(*asked, "--json")
    score = document["scores"]["base"]["constant:three"]
    assert code == 0 and (score["value"], score["low"], score["high"]) == (3.0, None, None)
    json.dumps(document, allow_nan=False)  # of which Python would read Infinity, and no other program
    _, out, _ = run(*asked)
    assert "3  (no interval: all rows alike)" in out


def test_a_judge_and_its_reasons_for_people(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It calls the longer answer better, and of one row says nothing."""

    def answer(backend: FakeBackend, model: str, turns: Any) -> str:
        text = str(turns[-1]["content"])
        if model != "judge":
            return "delivery" if model == "one" else "delivery, I should think"
        first, second = (part.split("\n</answer>")[0] for part in text.split("<answer>\n")[1:])
        longer = "A" if len(first) > len(second) else "B"
        return "Hm." if text.startswith(silent) else f"{longer} says [/more], \x1b[2Jand more.\nVERDICT: {longer}"

    silent = f"Conversation:\nsystem: {json.loads(Path(TEST).read_text().splitlines()[0])['messages'][0]['content']}"
    silent += f"\nuser: {json.loads(Path(TEST).read_text().splitlines()[0])['messages'][1]['content']}"
    monkeypatch.setattr(FakeBackend, "_answer", answer)
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("TUNEPORT_BACKEND", "fake")
    page = tmp_path / "report.html"
    code, out, error = run("eval", TEST, "one", "two", "--judge", "judge", "--html", str(page))
    assert code == 0 and "judge judge: at most 160 judgements, both orders of each pair" in error, error
    assert max(map(len, out.splitlines())) <= 80
    assert "win rate, ties as half      100.0%" in out and "better (p < 0.001)" in out
    assert "No position bias shown" in out and "A says [/more], \\x1b[2Jand more." in out and "\x1b" not in out
    assert "2 of its 160 judgements have no line VERDICT" in " ".join(out.split())
    assert "+ judge: judge prefers its answers: of 80 pairs it wins 79" in " ".join(out.split())
    assert "What a judge says" in page.read_text(encoding="utf-8")
    code, document, error = run("eval", TEST, "one", "two", "--judge", "judge", "--json")
    assert document["judgement"]["won"] == 79 and document["judgement"]["cached"] == 160
    assert document["judgement"]["pairs"][1]["winner"] == "two" and "160 are kept from before" in error
    code, _, error = run("eval", TEST, "one", "two", "--rubric", TEST)
    assert code == 2 and "name one with --judge" in error
    code, _, error = run("eval", TEST, "one", "two", "--judge", "openai/gpt-4.1-mini")
    assert code == 2 and "send 80 rows with both answers to OpenAI? Say so with --yes" in error
    assert "160 judgements, both orders of each pair; to gpt-4.1-mini" in error and "out: at most $0." in error


def test_nothing_is_sent_unasked(run: Run, isolated: Path) -> None:
    code, _, error = run("eval", TEST, "openai/gpt-4.1-mini", "--rows", "5")
    assert code == 2 and "send 5 rows to OpenAI?" in error and "10 prompts to gpt-4.1-mini" in error
