"""A model that is told the classes: where the words stand, and for which data there are any."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.commands import Run
from tests.support.folders import FIXTURES
from tests.support.rows import chat, write
from tuneport.errors import ConfigError
from tuneport.testing.fake.backend import FakeBackend
from tuneport.workflows.evaluation.models.instruction import add_instruction, instruct_classes

TRAIN = str(FIXTURES / "datasets" / "support_intents.train.jsonl")
TEST = str(FIXTURES / "datasets" / "support_intents.test.jsonl")
WORDS = "Answer with one of these and nothing else: a, b."


def test_the_instruction_names_the_classes() -> None:
    assert instruct_classes("classification", ["b", "a", "b"]) == WORDS
    with pytest.raises(ConfigError, match="the task here is extraction: write the instruction into the rows"):
        instruct_classes("extraction", None)
    with pytest.raises(ConfigError, match="at most 50, and there are 51"):
        instruct_classes("classification", map(str, range(51)))


def test_it_stands_in_the_system_prompt_or_before_the_question() -> None:
    system, asked = {"role": "system", "content": "Be brief."}, {"role": "user", "content": "Which?"}
    said = {"role": "assistant", "content": "That."}
    assert add_instruction([system, asked], WORDS) == [{"role": "system", "content": f"Be brief.\n\n{WORDS}"}, asked]
    told = {"role": "user", "content": f"{WORDS}\n\nWhich?"}
    assert add_instruction([asked, said, asked], WORDS) == [asked, said, told]
    assert asked["content"] == "Which?", "the row stays as it is"


def test_the_command_asks_with_the_classes(run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """One that obeys, where its plain self says nothing of use."""
    asked: list[str] = []

    def answer(backend: FakeBackend, model: str, turns: object) -> str:
        text = "\n".join(str(each["content"]) for each in turns)  # type: ignore[attr-defined]
        asked.append(text)
        return "delivery" if "Answer with one of these and nothing else: " in text else "Well, well."

    monkeypatch.setattr(FakeBackend, "_answer", answer)
    monkeypatch.setenv("TUNEPORT_BACKEND", "fake")
    command = ("eval", TEST, "one", "one instructed", "--train", TRAIN, "--rows", "20")
    code, document, error = run(*command, "--json")
    assert code == 0, error
    assert [each["prompting"] for each in document["models"]] == ["plain", "instructed"]
    assert not any(each["few_shot"] for each in document["models"])
    told = [each for each in asked if "nothing else:" in each]
    assert 0 < len(told) < len(asked) and "delivery" in told[0] and "refund" in told[0]
    assert document["scores"]["one instructed"]["accuracy"]["value"] >= document["scores"]["one"]["accuracy"]["value"]
    again = len(asked)
    assert run(*command)[0] == 0 and len(asked) == again, "its answers are kept apart from those of the plain one"
    open_ended = write(tmp_path / "a.jsonl", [chat(f"Tell me of {n}.", f"{n} is a number " * 9) for n in range(30)])
    code, _, error = run("eval", str(open_ended), "one", "one instructed")
    assert code == 2 and "write the instruction into the rows" in error
