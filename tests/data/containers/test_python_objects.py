"""Lists of dicts, DataFrames and `datasets.Dataset` wherever a path is taken."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tuneport
from tuneport.data.dataset import Dataset


def chats(count: int = 12) -> list[dict[str, Any]]:
    return [
        {
            "messages": [
                {"role": "user", "content": f"Question number {number}?"},
                {"role": "assistant", "content": f"Answer {number}."},
            ]
        }
        for number in range(count)
    ]


def written(dataset: Dataset) -> list[dict[str, Any]]:
    return [json.loads(line) for line in dataset.path.read_text().splitlines()]


def test_rows_are_a_private_file_as_long_as_the_dataset_is_there() -> None:
    dataset = Dataset(chats())
    assert written(dataset) == chats() and dataset.format == "openai" and repr(dataset) == "Dataset(<list: 12 rows>)"
    assert stat.S_IMODE(dataset.path.stat().st_mode) == 0o600
    assert stat.S_IMODE(dataset.path.parent.stat().st_mode) == 0o700
    path, other = dataset.path, dataset.read_as("openai")
    del dataset
    assert path.exists()  # the other one reads it
    del other
    assert not path.parent.exists()


def test_a_forked_child_leaves_the_file_to_its_parent() -> None:
    dataset = Dataset(chats())
    if (child := os.fork()) == 0:
        dataset._rows._delete()  # type: ignore[union-attr]
        os._exit(0)
    os.waitpid(child, 0)
    assert dataset.path.exists()


def test_every_verb_takes_rows(tmp_path: Path) -> None:
    rows, held = chats(), [{"prompt": "New?", "completion": "Yes."}]
    assert tuneport.check(rows, validation=held).rows == 12
    assert tuneport.compare(rows, model="gpt-4.1-mini", validation=held).rows == 12
    assert tuneport.plan(rows, model="llama-3.2-1b-instruct", gpu="L4").rows == 12
    assert tuneport.preview(rows, model="gpt-4.1-mini").records == 12
    assert tuneport.convert(rows, "sharegpt", tmp_path / "s.jsonl").written == 12
    assert tuneport.clean(rows, tmp_path / "c.jsonl").written == 12
    assert tuneport.split(rows, 0.25, output=tmp_path).train.name == "list.train.jsonl"
    advice = tuneport.advise(rows, need="style", prompt="fails", few_shot="fails", validation=held)
    assert advice.situation.examples == 12
    assert tuneport.check(iter(rows)).rows == 12 and tuneport.check(tuple(rows)).rows == 12


def test_numpy_values_and_what_is_missing() -> None:
    row = {
        "a": np.int64(1), "b": np.array([1.5, 2.0]), "c": float("nan"), "d": None, "e": np.float32(0.5),
        "f": np.bool_(True), "g": np.str_("text"), "h": {"inner": np.array(["x"], dtype=object)},
        "i": np.float64("nan"),
    }  # fmt: skip
    assert written(Dataset([row])) == [
        {"a": 1, "b": [1.5, 2.0], "d": None, "e": 0.5, "f": True, "g": "text", "h": {"inner": ["x"]}}
    ]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([{"a": 1}, {"a": {1}}], "the list, row 2: a: is a builtins.set, which JSON cannot hold"),
        ([{"messages": [{"content": b"x"}]}], r"row 1: messages\[0\]\.content: is a builtins.bytes"),
        ([{"a": 1}, {"a": float("inf")}], "row 2: a: is inf, which JSON cannot hold"),
        ([{"a": "\ud800"}], "row 1: a: .*surrogates not allowed"),
        ([{1: "x"}], "row 1: has the key 1, which is no text"),
        ([{"a": 1}, "text"], "row 2: is a str, not a dict"),
        ([], "the list: has no rows"),
    ],
)  # fmt: skip
def test_a_row_that_cannot_be_written_is_named(rows: list[Any], message: str) -> None:
    with pytest.raises(tuneport.DatasetError, match=message):
        tuneport.check(rows)


def test_all_bad_rows_are_counted() -> None:
    with pytest.raises(tuneport.DatasetError, match="row 1: .*and 79 more") as told:
        Dataset([{"a": {1}}] * 80)
    assert told.value.count == 80 and told.value.problems[4].line == 5 and told.value.problems[4].unit == "row"


def test_a_row_that_holds_itself_is_named() -> None:
    loop: list[Any] = []
    loop.append(loop)
    with pytest.raises(tuneport.DatasetError, match="row 1: a: is nested too deeply, or holds itself"):
        Dataset([{"a": loop}])


@pytest.mark.parametrize("thing", [3, None, {"a": [1]}])
def test_what_is_no_dataset_is_a_type_error(thing: Any) -> None:
    with pytest.raises(TypeError, match="a path, a list of dicts, a pandas DataFrame or a datasets.Dataset, not a"):
        tuneport.check(thing)


def test_other_columns_for_rows_and_for_a_validation_that_has_them() -> None:
    rows = [{"question": f"Q {number}?", "answer": f"A {number}"} for number in range(6)]
    columns = {"instruction": "question", "output": "answer"}
    training = Dataset(rows, columns)
    assert training.format == "alpaca"
    assert training.validation_like(rows).columns == columns
    assert training.validation_like([{"instruction": "Q?", "output": "A"}]).columns == {}


def test_a_job_keeps_its_rows() -> None:
    with tuneport.Workspace() as workspace:
        job = workspace.submit(chats(), model="tiny", backend="fake", validation=chats(3), confirm=False, anyway=True)
        document = job.as_dict()
        kept = Path(document["dataset"]["path"])
        assert kept.parent == workspace.settings.home / "datasets"
        assert written(Dataset(kept)) == chats() and stat.S_IMODE(kept.stat().st_mode) == 0o600
        again = workspace.submit(chats(), model="tiny", backend="fake", confirm=False, anyway=True)
        assert again.as_dict()["dataset"]["path"] == str(kept)
    assert len(list(kept.parent.iterdir())) == 2


def test_data_frames() -> None:
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(
        {
            "instruction": ["a", "b", "c"],
            "input": ["x", None, np.nan],
            "output": ["d", "e", "f"],
            "count": pandas.array([1, None, 3], dtype="Int64"),
            "day": [pandas.Timestamp("2026-11-28"), pandas.NaT, pandas.NaT],
            "turns": [np.array(["y", None], dtype=object), None, []],
        },
        index=[7, 7, 9],
    )
    assert written(Dataset(frame)) == [
        {
            "instruction": "a",
            "input": "x",
            "output": "d",
            "count": 1,
            "day": "2026-11-28T00:00:00",
            "turns": ["y", None],
        },
        {"instruction": "b", "output": "e"},
        {"instruction": "c", "output": "f", "count": 3, "turns": []},
    ]
    assert Dataset(frame).format == "alpaca" and tuneport.check(pandas.DataFrame(chats())).rows == 12
    with pytest.raises(tuneport.DatasetError, match="the DataFrame, row 2: output: is a builtins.set"):
        tuneport.check(pandas.DataFrame({"instruction": ["a", "b"], "output": ["c", {1}]}))
    with pytest.raises(tuneport.DatasetError, match="the DataFrame: a: is the name of several columns"):
        tuneport.check(pandas.DataFrame([[1, 2]], columns=["a", "a"]))
    with pytest.raises(tuneport.DatasetError, match="has the key 0, which is no text"):
        tuneport.check(pandas.DataFrame([[1, 2]]))


def test_datasets() -> None:
    datasets = pytest.importorskip("datasets")
    rows = [
        {"messages": [{"role": "user", "content": "Q?"}, {"role": "assistant", "content": "A", "weight": 1}], "id": 1},
        {"messages": [{"role": "user", "content": "P?"}, {"role": "assistant", "content": "B"}], "id": None},
    ]
    for given in (datasets.Dataset.from_list(rows), datasets.Dataset.from_list(rows).with_format("numpy")):
        assert written(Dataset(given)) == [rows[0], {"messages": rows[1]["messages"]}]
        assert tuneport.check(given).rows == 2
    assert written(Dataset(datasets.Dataset.from_list(rows).to_iterable_dataset()))[1] == {
        "messages": rows[1]["messages"]
    }
    with pytest.raises(TypeError, match=r"a DatasetDict has several splits \(train, test\); give one"):
        tuneport.check(datasets.DatasetDict({"train": given, "test": given}))


def test_rows_are_not_held_a_second_time_and_neither_library_is_imported() -> None:
    """5,000 rows of about 800 bytes are 4 MB of file; what is allocated for writing them is far less."""
    code = """
import sys, tracemalloc, tuneport
rows = [{"prompt": f"{n} " + "x" * 400, "completion": f"{n} " + "y" * 400} for n in range(5_000)]
tuneport.Dataset(rows[:1])
tracemalloc.start()
dataset = tuneport.Dataset(rows)
print(tracemalloc.get_traced_memory()[1], dataset.bytes, {"pandas", "datasets"} & set(sys.modules))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    peak, size, imported = done.stdout.split()
    assert int(size) > 4e6 and int(peak) < 1e6 and imported == "set()"
