"""`--epochs` means the same wherever training is planned or started, and as `--set epochs=N`."""

from __future__ import annotations

import pytest

from tests.support.commands import Run
from tests.support.folders import FIXTURES
from tuneport.cli.epochs import add_epochs
from tuneport.errors import ConfigError

TRAIN = str(FIXTURES / "datasets" / "support_intents.train.jsonl")


def test_they_are_added_and_never_contradicted() -> None:
    assert add_epochs(["batch_size=2"], 3) == ["batch_size=2", "epochs=3"]
    assert add_epochs(["epochs=3"], 3) == ["epochs=3"]
    assert add_epochs(None, None) == []
    with pytest.raises(ConfigError, match="--epochs 3 and --set epochs=5 say different numbers"):
        add_epochs(["epochs=5"], 3)


@pytest.mark.parametrize("flag", [["--epochs", "4"], ["--set", "epochs=4"]])
def test_submit_and_plan_take_them(run: Run, monkeypatch: pytest.MonkeyPatch, flag: list[str]) -> None:
    monkeypatch.setenv("TUNEPORT_BACKEND", "fake")
    code, job, error = run("submit", "--yes", "--anyway", TRAIN, "--model", "m", *flag, "--json")
    assert code == 0, error
    assert job["proposal"]["hyperparameters"]["epochs"] == 4
    code, plan, error = run("plan", TRAIN, "--model", "smollm2-135m-instruct", "--gpu", "L4", *flag, "--json")
    assert code == 0, error
    assert plan["hyperparameters"]["epochs"] == {"value": 4, "because": "as given", "chosen_by": "user"}


def test_compare_and_advise_take_them_too(run: Run) -> None:
    code, found, _ = run("compare", TRAIN, "--model", "llama-3.1-8b-instruct", "--epochs", "4", "--json")
    assert code == 0 and {row["epochs"] for row in found["choices"]} == {4}
    code, advice, _ = run("advise", TRAIN, "--need", "task", "--epochs", "4", "--json")
    assert code == 0 and advice["situation"]["epochs"] == 4
