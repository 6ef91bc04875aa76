"""advise as people have it: by flags, and by questions on a terminal."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.commands import Run
from tests.support.emulated import LeadTo
from tests.support.folders import FIXTURES
from tests.support.terminal import Terminal
from tuneport.testing.emulators import OpenAIEmulator

TRAIN = str(FIXTURES / "datasets" / "support_intents.train.jsonl")
TEST = str(FIXTURES / "datasets" / "support_intents.test.jsonl")
SITUATIONS = [
    ["--need", "task", "--prompt", "works"],
    ["--need", "knowledge", "--sources", "--facts-change"],
    ["--need", "cost", "--prompt", "works", "--examples", "2k", "--requests", "1.5M", "--generated-only"],
    [TRAIN, "--validation", TEST, "--need", "task", "--prompt", "fails", "--few-shot", "partly", "--epochs", "12"],
    [TRAIN, "--need", "cost", "--prompt", "works", "--requests", "2M", "--model", "gpt-4.1", "--backend", "openai"],
]


@pytest.mark.parametrize("arguments", SITUATIONS, ids=range(len(SITUATIONS)))
def test_it_fits_80_columns_and_says_plainly_whether_to_fine_tune(
    run: Run, monkeypatch: pytest.MonkeyPatch, arguments: list[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    code, out, error = run("advise", *arguments)
    assert code == 0, error
    assert max(map(len, out.splitlines())) <= 80
    _, document, _ = run("advise", *arguments, "--json")
    assert out.startswith("Fine-tune" if document["fine_tune"] else "Do not fine-tune: ")
    assert len([line for line in out.splitlines() if line.startswith("  !  ")]) == sum(
        bool(pitfall["applies"]) for pitfall in document["pitfalls"]
    )


def test_mistakes_are_one_line(run: Run) -> None:
    for arguments, message in (
        ([], "say what has to change"),
        (["--need", "speed"], "'speed' is no need"),
        (["--need", "cost", "--requests", "many"], "--requests: 'many' is not a count"),
        (["nowhere.jsonl", "--need", "task"], "does not exist"),
        ([TRAIN, "--need", "task", "--probe"], "say which with --model"),
        ([TRAIN, "--need", "task", "--model", "gpt-4.1", "--tokens-per-request", "400"], "is not IN:OUT"),
    ):
        code, _, error = run("advise", *arguments)
        assert code == 2 and message in error and len(error.strip().splitlines()) == 1


def test_questions_on_a_terminal() -> None:
    """A wrong answer is asked again, Enter skips, and what can change nothing is not asked."""
    terminal = Terminal("advise")
    at = terminal.wait_for("> ")
    terminal.type("12\n")
    at = terminal.wait_for("is not a number from 1 to 9", after=at)
    terminal.type("3, 2\n")
    at = terminal.wait_for("tried on a base model?", after=at)
    terminal.type("\n")
    at = terminal.wait_for("examples in it tried?", after=at)
    terminal.type("\x04")  # Ctrl-D: no more questions
    at = terminal.wait_for("Do not fine-tune: use a prompt", after=at)
    terminal.wait_for("Pitfalls", after=at)
    assert terminal.close() == 0
    assert "requests a month" not in terminal.screen


def test_ctrl_c_at_a_question_ends_it_cleanly() -> None:
    terminal = Terminal("advise")
    at = terminal.wait_for("> ")
    terminal.interrupt_until("nothing was done", after=at)
    assert terminal.close() == 130
    assert "Traceback" not in terminal.screen


@pytest.fixture
def openai(lead_to: LeadTo) -> OpenAIEmulator:
    pytest.importorskip("openai", reason="an extra: pip install 'tuneport[openai]'")
    return lead_to(OpenAIEmulator())


def test_a_probe_says_its_price_and_asks_before_rows_leave(
    run: Run, openai: OpenAIEmulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    probe = ["advise", TRAIN, "--validation", TEST, "--need", "task", "--probe", "--model", "gpt-4.1-mini"]
    probe += ["--backend", "openai", "--rows", "10"]
    code, _, error = run(*probe)
    assert (
        code == 2 and "20 prompts to gpt-4.1-mini" in error and "at the most" in error and "Say so with --yes" in error
    )
    assert not openai.log
    code, out, error = run(*probe, "--yes")
    assert code == 0, error
    assert "Measured" in out and "8 examples shown" in out and max(map(len, out.splitlines())) <= 80
    assert error.count("10 rows") == 2


@pytest.mark.full
def test_a_probe_of_the_real_model_on_this_machine(run: Run) -> None:
    probe = ["advise", TRAIN, "--validation", TEST, "--need", "task", "--probe", "--model", "smollm2-135m-instruct"]
    code, document, error = run(*probe, "--backend", "local", "--rows", "5", "--json")
    assert code == 0, error
    assert "electricity not counted" in error or "$0" in error
    assert [score["total"] for score in document["probe"]["scores"]] == [5, 5]
    assert document["situation"]["prompt"] == "fails" and document["fine_tune"] is True


@pytest.mark.full
def test_open_answers_are_shown_before_a_person_is_asked_about_them(openai: OpenAIEmulator, tmp_path: Path) -> None:
    rows = [
        [{"role": "user", "content": f"Tell of thing {n}."}, {"role": "assistant", "content": f"Arr, thing {n} it be!"}]
        for n in range(20)
    ]
    path = tmp_path / "data.jsonl"
    path.write_text("".join(json.dumps({"messages": row}) + "\n" for row in rows))
    probe = ["--probe", "--model", "gpt-4.1-mini", "--backend", "openai", "--rows", "5"]
    terminal = Terminal("advise", str(path), "--need", "style", *probe)
    at = terminal.wait_for("examples to OpenAI? [y/N]")
    terminal.type("y\n")
    at = terminal.wait_for("base answer", after=at)  # what the emulator's base model says
    at = terminal.wait_for("tried on a base model?", after=at)
    terminal.type("2\n")
    at = terminal.wait_for("examples in it tried?", after=at)
    terminal.type("3\n")
    at = terminal.wait_for("put examples into the prompt", after=at)
    at = terminal.wait_for("Pitfalls", after=at)
    assert terminal.close() == 0
    assert "requests a month" not in terminal.screen
