"""LLaMA-Factory's list of datasets: which file a name stands for, which columns it has, and what is not read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.support.commands import Run
from tests.support.rows import write
from tuneport.data.containers.dataset_info import find_dataset_info_entry
from tuneport.data.dataset import Dataset
from tuneport.data.rows.records import Chat, Labelled, PlainText, Preference
from tuneport.errors import DatasetError
from tuneport.lifecycle.service import JobService

ROLES = {"role_tag": "role", "content_tag": "content", "user_tag": "user", "assistant_tag": "assistant"}
SAID = [{"from": "human", "value": "Who?"}, {"from": "gpt", "value": "Me."}]
CHAT = [{"role": "user", "content": "Who?"}, {"role": "assistant", "content": "Me."}]
ENTRIES: dict[str, tuple[dict[str, Any], dict[str, Any], type]] = {
    # name: what the list says, a row of the file, what it is read as
    "plain": ({}, {"instruction": "Who?", "input": "", "output": "Me."}, Chat),
    "asked": (
        {"columns": {"prompt": "question", "response": "answer", "system": "system_prompt"}},
        {"question": "Who?", "answer": "Me.", "system_prompt": "Be brief."},
        Chat,
    ),
    "texts": ({"columns": {"prompt": "content"}}, {"content": "A page.", "id": 7}, PlainText),
    "turns": ({"formatting": "sharegpt"}, {"conversations": SAID}, Chat),
    "renamed": (
        {"formatting": "sharegpt", "columns": {"messages": "talk", "tools": None}, "tags": ROLES},
        {"talk": CHAT},
        Chat,
    ),
    "openai": ({"formatting": "openai", "columns": {"messages": "messages"}}, {"messages": CHAT}, Chat),
    "pairs": (
        {"ranking": True, "columns": {"prompt": "question", "chosen": "good", "rejected": "bad"}},
        {"question": "Who?", "good": "Me.", "bad": "You."},
        Preference,
    ),
    "marked": (
        {"formatting": "sharegpt", "columns": {"messages": "completion", "kto_tag": "label"}, "tags": ROLES},
        {"completion": CHAT, "label": False},
        Labelled,
    ),
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, (_, row, _) in ENTRIES.items():
        write(tmp_path / f"{name}.jsonl", [row] * 3)
    listed = {name: {"file_name": f"{name}.jsonl", **entry} for name, (entry, _, _) in ENTRIES.items()}
    (tmp_path / "dataset_info.json").write_text(json.dumps(listed))
    return tmp_path


def refused(path: Path | str) -> str:
    with pytest.raises(DatasetError) as caught:
        Dataset(path)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def listing(folder: Path, **entries: Any) -> Path:
    path = folder / "dataset_info.json"
    path.write_text(json.dumps(entries))
    return path


@pytest.mark.parametrize("name", ENTRIES)
def test_a_name_is_its_file_with_its_columns(folder: Path, name: str) -> None:
    for path in (folder / f"dataset_info.json#{name}", Path(f"{folder}#{name}")):
        data = Dataset(path)
        assert data.path == folder / f"{name}.jsonl"
        records = [record for _, record in data.records()]
        assert len(records) == 3 and {type(record) for record in records} == {ENTRIES[name][2]}


def test_a_folder_may_be_the_present_one_and_a_path_may_be_nonsense(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    for path in (".#plain", "./#plain", "#plain", "dataset_info.json#plain"):
        assert len(list(Dataset(path).records())) == 3, path
    assert find_dataset_info_entry(Path(f"{'a' * 3000}#b")) is None and find_dataset_info_entry(Path("a\0#b")) is None


def test_what_a_mapped_row_says(folder: Path) -> None:
    [asked, *_] = [record for _, record in Dataset(f"{folder}#asked").records()]
    assert isinstance(asked, Chat) and [each.text for each in asked.messages] == ["Be brief.", "Who?", "Me."]
    [marked, *_] = [record for _, record in Dataset(f"{folder}#marked").records()]
    assert isinstance(marked, Labelled) and marked.label is False
    given = Dataset(f"{folder}#asked", {"instruction": "answer", "output": "question"})
    assert given.columns == {"instruction": "answer", "output": "question", "system": "system_prompt"}


def test_a_name_that_is_not_there_is_told_with_those_that_are(folder: Path) -> None:
    info = folder / "dataset_info.json"
    assert refused(f"{info}#turn").endswith(
        f"has no dataset 'turn'; name one: {info}#turns, plain, asked, texts, renamed, openai, pairs, marked"
    )
    assert f"names 8 datasets; name one: {info}#plain, asked" in refused(info)
    assert "and 30 more" in refused(listing(folder, **{f"d{n}": {"file_name": "a.jsonl"} for n in range(50)}))


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ({"file_name": "a.jsonl", "num_samples": 100}, "asks for a sample of the rows in 'one' (num_samples: 100)"),
        ({"hf_hub_url": "o/n", "subset": "en"}, "asks for one of several configurations in 'one' (subset: en)"),
        ({"hf_hub_url": "o/n", "folder": "data/en"}, "asks for a folder of the hub's repository in 'one'"),
        ({"ms_hub_url": "o/n"}, "names no file and no dataset of the hub for 'one' (ms_hub_url: o/n); download it"),
        ({"file_name": "../secret.jsonl"}, "leads out of its folder in 'one' (../secret.jsonl)"),
        ({"file_name": "/etc/passwd"}, "leads out of its folder in 'one' (/etc/passwd)"),
        (
            {"file_name": "a.jsonl", "formatting": "sharegpt", "tags": {**ROLES, "user_tag": "USER"}},
            "has tags of 'one' that are not known (role_tag: role, content_tag: content, user_tag: USER)",
        ),
        ({"file_name": "a.jsonl", "columns": {"prompt": 3}}, "has columns of 'one' that are no names"),
    ],
)
def test_what_would_be_something_else_is_refused(tmp_path: Path, entry: dict[str, Any], words: str) -> None:
    assert words in refused(f"{listing(tmp_path, one=entry)}#one")


def test_a_dataset_of_the_hub_is_read_from_there_unless_its_file_is_here(tmp_path: Path) -> None:
    info = listing(tmp_path, a={"hf_hub_url": "o/n", "split": "test", "file_name": "a.jsonl"}, b={"hf_hub_url": "o/n"})
    assert str(Dataset(f"{info}#a").path) == "hf:/o/n#test" and str(Dataset(f"{info}#b").path) == "hf:/o/n#train"
    write(tmp_path / "a.jsonl", [{"text": "A page."}])
    assert Dataset(f"{info}#a").path == tmp_path / "a.jsonl"


def test_rows_without_a_split_are_those_to_train_on(tmp_path: Path) -> None:
    write(tmp_path / "rows.jsonl", [{"text": "A page."}])
    assert Dataset(f"{tmp_path}#train").files == [tmp_path / "rows.jsonl"]
    with pytest.raises(DatasetError, match="has no split 'test'"):
        Dataset(f"{tmp_path}#test").files  # noqa: B018


def test_the_file_of_the_same_name_of_hugging_face_is_no_list(tmp_path: Path) -> None:
    write(tmp_path / "train.jsonl", [{"text": "A page."}])
    write(tmp_path / "test.jsonl", [{"text": "Another."}])
    info = listing(tmp_path, builder_name="json", features={"text": {"dtype": "string"}}, splits={"train": {}})
    assert find_dataset_info_entry(info) is None and find_dataset_info_entry(Path(f"{tmp_path}#train")) is None
    assert Dataset(f"{tmp_path}#train").files == [tmp_path / "train.jsonl"]
    info.write_text("[not json")
    assert find_dataset_info_entry(Path(f"{info}#train")) is None


def test_commands_take_a_name_and_say_the_file(folder: Path, run: Run) -> None:
    code, document, error = run("check", f"{folder}#asked", "--json")
    assert document["rows"] == 3 and document["format"]["format"] == "alpaca", error
    code, _, error = run("check", f"{folder / 'dataset_info.json'}#ask")
    assert code == 2 and "#asked" in error
    given = ("--model", "tiny", "--backend", "fake", "--yes", "--anyway", "--json")
    code, document, error = run("submit", f"{folder}#renamed", *given)
    assert code == 0, error
    with JobService() as service:
        spec = service.job(document["id"]).tune_spec
    assert (spec.dataset, spec.columns) == (folder / "renamed.jsonl", {"messages": "talk"})
