"""A dataset of a kind that a method cannot train on is refused before anything is planned, priced or uploaded."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import tuneport
from tests.support.rows import chat, write
from tuneport.cli.main import main
from tuneport.data.conversion.prepare import convert_dataset_for_method
from tuneport.data.dataset import Dataset
from tuneport.errors import ConfigError, DatasetError
from tuneport.methods import Method

CHAT = chat("Where?", "There.")
PAIR = {"prompt": "Where?", "chosen": "There.", "rejected": "Ask."}
LABELLED = {"prompt": "Where?", "completion": "There.", "label": True}
GRADED = {"messages": CHAT["messages"][:1], "answer": "There."}
TEXT = {"text": "Here and there."}

TRAINED = {
    "sft": [CHAT, TEXT],
    "dpo": [PAIR],
    "reward": [PAIR],
    "kto": [LABELLED],
    "grpo": [CHAT, PAIR, LABELLED, GRADED],
    "rloo": [CHAT, PAIR, LABELLED, GRADED],
    "rft": [GRADED],
}


@pytest.mark.parametrize("method", list(Method))
def test_each_method_takes_its_own_records_alone(tmp_path: Path, method: Method) -> None:
    for number, row in enumerate((CHAT, PAIR, LABELLED, TEXT)):
        data = Dataset(write(tmp_path / f"{number}.jsonl", [row] * 3))
        if row in TRAINED[method] or method is Method.RFT:  # what is no question for a grader, its format tells
            assert data.for_method(method).path == data.path
        else:
            with pytest.raises(
                ConfigError, match=rf"{number}\.jsonl holds .* trains on .*; use --method \w+"
            ) as raised:
                data.for_method(method)
            assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("rows", "method", "told"),
    [
        ([CHAT], "kto", "holds single answers, and kto trains on answers marked good or bad; use --method sft, or .*"
         "--map kto_tag=COLUMN"),
        ([PAIR], "sft", "holds preference pairs, and sft trains on single answers; use --method dpo"),
        ([LABELLED], "sft", "holds answers marked good or bad, and sft trains on single answers; use --method kto, or"),
        ([{"prompt": "a", "completion": "b"}], "kto", "--map label=COLUMN"),
        ([CHAT], "dpo", "--map chosen=COLUMN --map rejected=COLUMN"),
    ],
)  # fmt: skip
def test_the_remedy_is_named(tmp_path: Path, rows: list[dict[str, Any]], method: Method, told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        Dataset(write(tmp_path / "a.jsonl", rows)).for_method(Method(method))


def test_a_format_that_was_given_is_judged_too(tmp_path: Path) -> None:
    given = Dataset(write(tmp_path / "a.jsonl", [PAIR]), format="trl")
    with pytest.raises(ConfigError, match="holds preference pairs"):
        given.for_method(Method.SFT)


def test_rows_after_the_first_are_judged_as_well(tmp_path: Path) -> None:
    unmarked = {"prompt": [CHAT["messages"][0]], "completion": [CHAT["messages"][1]]}
    data = Dataset(write(tmp_path / "a.jsonl", [LABELLED, unmarked, LABELLED, unmarked]), format="trl")
    with pytest.raises(DatasetError) as raised:
        convert_dataset_for_method(Method.KTO, data, "trl", tmp_path / "files")
    assert [problem.line for problem in raised.value.problems] == [2, 4]
    assert "holds single answers" in str(raised.value) and not list((tmp_path / "files").glob("*.jsonl"))


@pytest.mark.parametrize("command", ["plan", "compare"])
def test_what_submit_refuses_is_not_planned(tmp_path: Path, command: str, capsys: pytest.CaptureFixture[str]) -> None:
    data = write(tmp_path / "a.jsonl", [CHAT] * 40)
    assert main([command, str(data), "-m", "llama-3.1-8b-instruct", "--method", "dpo"]) == 2
    assert "a.jsonl holds single answers, and dpo trains on preference pairs" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["plan", "compare"])
def test_what_submit_would_not_use_is_not_planned(
    tmp_path: Path, command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = [
        command,
        str(write(tmp_path / "a.jsonl", [{**CHAT, "video": "a.mp4"}] * 40)),
        "-m",
        "llama-3.1-8b-instruct",
    ]
    assert main(asked) == 2
    assert "a.jsonl:1: video: 40 of 40 records have it, and the model would not see it" in capsys.readouterr().err
    assert main([*asked, "--method", "grpo"]) == 0


@pytest.mark.parametrize("command", ["plan", "submit"])
def test_pictures_are_planned_for_models_that_take_them_alone(
    tmp_path: Path, command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    url = {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}}
    shown = {"messages": [{"role": "user", "content": [url]}, {"role": "assistant", "content": "A cat."}]}
    data = str(write(tmp_path / "a.jsonl", [CHAT] * 14 + [shown] * 6))
    asked = [command, data, "-m", "gpt-4.1-mini", "-b", "openai", "--yes", "--anyway"]
    if command == "plan":
        asked = [command, data, "-m", "llama-3.1-8b-instruct"]
    assert main(asked) == 2
    told = " ".join(capsys.readouterr().err.split())
    assert "takes no images, and 6 rows show some; take a model that does (" in told, told
    assert "openai/gpt-4o-2024-08-06" in told and "together/Qwen/Qwen3-VL-8B-Instruct" in told


def test_bad_answers_are_trained_on_where_that_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], isolated: Path
) -> None:
    rows = [
        {
            "messages": [
                {"role": "user", "content": f"Where is {number}?"},
                {"role": "assistant", "content": f"{number}"},
            ],
            "kto_tag": number % 2 == 0,
        }
        for number in range(40)
    ]
    data = write(tmp_path / "a.jsonl", rows)
    asked = [str(data), "-m", "llama-3.1-8b-instruct", "--method", "sft"]
    for command in ("plan", "compare"):
        assert main([command, *asked]) == 2
        assert "--method sft --keep-unliked" in capsys.readouterr().err
        assert main([command, *asked, "--keep-unliked"]) == 0
    with pytest.raises(ConfigError, match="--method sft --keep-unliked"):
        tuneport.submit(data, model="fake-small", backend="fake", method="sft", confirm=False, anyway=True)
    job = tuneport.submit(
        data, model="fake-small", backend="fake", method="sft", keep_unliked=True, confirm=False, anyway=True
    )
    assert job.as_dict()["keep_unliked"] and job.as_dict()["dataset"]["rows"] == 40
    again = tuneport.submit(
        data, model="fake-small", backend="fake", keep_unliked=True, confirm=False, anyway=True, again=True
    )
    assert again.as_dict()["method"] == "sft", "marks do not say the method where they do not matter"
    with pytest.raises(ConfigError, match="belongs to the method sft, not to kto"):
        tuneport.submit(data, model="fake-small", backend="fake", method="kto", keep_unliked=True)


def test_pairs_are_not_uploaded_for_another_method(tmp_path: Path) -> None:
    """Together takes files of pairs, and its own sft job would have got them."""
    data = write(tmp_path / "a.jsonl", [PAIR] * 40)
    with pytest.raises(ConfigError, match="holds preference pairs, and sft trains on single answers"):
        tuneport.submit(data, model="llama-3.1-8b-instruct", backend="together", method="sft")


def test_the_good_answers_are_kept_alone_as_the_remedy_says(tmp_path: Path) -> None:
    marked = [LABELLED, {**LABELLED, "label": False}, LABELLED]
    data, good = write(tmp_path / "a.jsonl", marked), tmp_path / "good.jsonl"
    assert main(["convert", str(data), "--to", "openai", "--allow-loss", "-o", str(good)]) == 0
    assert [json.loads(line)["messages"][-1]["content"] for line in good.read_text().splitlines()] == ["There."] * 2
    assert Dataset(good).for_method(Method.SFT).path == good
