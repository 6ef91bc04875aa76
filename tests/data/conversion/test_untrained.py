"""A dataset of which no token would be trained is refused while it is prepared; rows of that kind are counted."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tuneport.data.conversion.prepare import convert_dataset_for_method
from tuneport.data.conversion.untrained import UntrainedDatasetRecords
from tuneport.data.dataset import Dataset
from tuneport.errors import DatasetError
from tuneport.types import Method


def chat(answer: str, *, question: str = "Which?", **keys: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": question}, {"role": "assistant", "content": answer} | keys]}


def pair(chosen: str, rejected: str) -> dict[str, Any]:
    return {
        "input": {"messages": [{"role": "user", "content": "Which?"}]},
        "preferred_output": [{"role": "assistant", "content": chosen}],
        "non_preferred_output": [{"role": "assistant", "content": rejected}],
    }


def labelled(answer: str) -> dict[str, Any]:
    asked = [{"role": "user", "content": "Which?"}]
    return {"prompt": asked, "completion": [{"role": "assistant", "content": answer}], "label": True}


def prepared(
    folder: Path, rows: list[dict[str, Any]], method: Method, target: str, limit: int | None = None
) -> tuple[UntrainedDatasetRecords, Path]:
    path = folder / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    seen = UntrainedDatasetRecords(limit)
    convert_dataset_for_method(method, Dataset(path), target, folder / "files", untrained=seen)
    return seen, path


@pytest.mark.parametrize(
    ("rows", "method", "target", "limit", "told"),
    [
        ([chat("")] * 3, Method.SFT, "openai", None, "3 have an empty answer"),
        ([chat(" \n"), chat("")], Method.SFT, "openai", None, "2 have an empty answer"),
        ([chat("Yes.", weight=0)] * 3, Method.SFT, "openai", None, "3 have no answer that is trained on"),
        ([chat("Yes.", weight=0), chat("")], Method.SFT, "openai", None, "none of the 2 rows would train anything"),
        ([chat("Yes.", question="word " * 400)] * 2, Method.SFT, "openai", 64, "begins beyond the limit of 64 tokens"),
        ([{"prompt": "Which?", "completion": ""}] * 2, Method.SFT, "openai", None, "2 have an empty answer"),
        ([pair("", "")] * 2, Method.DPO, "openai-preference", None, "2 have an empty answer"),
        ([labelled("")] * 2, Method.KTO, "trl", None, "2 have an empty answer"),
    ],
)
def test_a_dataset_that_would_train_nothing_is_refused_in_one_line(
    tmp_path: Path, rows: list[dict[str, Any]], method: Method, target: str, limit: int | None, told: str
) -> None:
    with pytest.raises(DatasetError) as refused:
        prepared(tmp_path, rows, method, target, limit)
    message = str(refused.value)
    assert told in message and f"none of the {len(rows)} rows" in message and str(tmp_path / "rows.jsonl") in message
    assert "\n" not in message and ";" in message, "it says what to do"
    assert not list((tmp_path / "files").glob("*.jsonl")), "nothing is left that could be uploaded"


def test_some_rows_that_train_nothing_are_counted_and_named(tmp_path: Path) -> None:
    rows = [chat("Yes."), chat(""), chat("No."), chat("No.", weight=0), chat("", tool_calls=[]), chat("Oh.")]
    seen, path = prepared(tmp_path, rows, Method.SFT, "openai")
    assert seen.warnings(path) == [
        f"{path}: 2 of 6 rows have an empty answer (lines 2, 5); complete the answers or remove the rows (tuneport "
        "clean does)",
        f"{path}: 1 of 6 rows has no answer that is trained on (weight 0, or none) (line 4); give an answer the "
        "weight 1",
    ]


def test_what_does_train_is_counted_nowhere(tmp_path: Path) -> None:
    call = {"id": "c", "type": "function", "function": {"name": "look", "arguments": "{}"}}
    one = {"role": "assistant", "tool_calls": [call]}
    tools = [{"type": "function", "function": {"name": "look", "parameters": {"type": "object", "properties": {}}}}]
    rows: list[dict[str, Any]] = [
        {"messages": [{"role": "user", "content": "Look."}, one], "tools": tools},
        {"messages": [*chat("")["messages"], *chat("At last.")["messages"]]},
        chat("Yes.", question="word " * 60),  # within the limit in a vocabulary that makes fewer tokens of it
    ]
    seen, path = prepared(tmp_path, rows, Method.SFT, "openai", limit=64)
    assert seen.rows == 3 and seen.warnings(path) == []
