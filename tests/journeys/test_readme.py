"""The first example of README.md, as it is written there, where a tuned model answers from an endpoint only."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

import pytest

from tests.support.emulated import LeadTo
from tests.support.folders import CHECKOUT, FIXTURES
from tuneport.errors import NotDeployedError
from tuneport.testing.emulators import TogetherEmulator


def first_example() -> str:
    text = (CHECKOUT / "README.md").read_text(encoding="utf-8")
    return text.split("```python\n", 1)[1].split("```", 1)[0]


def test_the_first_example_at_together_says_how_to_get_an_answer(
    lead_to: LeadTo, isolated: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (isolated / "tuneport.toml").write_text("[backends.together.options]\npoll_interval = 0.01\n")
    for part in ("train", "test"):
        source = FIXTURES / "datasets" / f"support_intents.{part}.jsonl"
        (isolated / f"{part}.jsonl").write_bytes(source.read_bytes())
    together = lead_to(TogetherEmulator())
    monkeypatch.setenv("TUNEPORT_BACKEND", "together")
    names: dict[str, Any] = {}
    *before, ask, evaluate = [ast.unparse(each) for each in ast.parse(first_example()).body]
    assert ask.startswith("job.complete(") and evaluate.startswith("tuneport.evaluate(")
    for statement in before:
        exec(statement, names)
    job = names["job"]
    with pytest.raises(NotDeployedError) as caught:
        exec(ask, names)
    told = str(caught.value)
    assert f"`tuneport deploy {job.id}` (job.deploy() in Python)" in told
    assert "$3.99" in told and "$2,913 a month" in told
    assert f"`tuneport download {job.id} -o FOLDER`" in told and "`tuneport chat FOLDER --backend local`" in told
    with pytest.raises(NotDeployedError, match=job.id):
        list(job.stream("Where is my parcel?"))
    job.deploy(confirm=False)
    together.advance(600)
    assert job.complete("Where is my parcel?").text
