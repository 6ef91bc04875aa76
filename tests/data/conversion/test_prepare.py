"""The file for a backend: the same dataset gives the same file, and only what is trained on is in it."""

from __future__ import annotations

import errno
import hashlib
import json
import os
from pathlib import Path

import pytest

from tests.support.rows import chat, write
from tuneport.data.conversion.prepare import dataset_upload_format, prepare_dataset
from tuneport.data.dataset import Dataset
from tuneport.errors import ConversionLossError, DatasetError, StorageError
from tuneport.types import Method

PAIR = {
    "conversations": [{"from": "human", "value": "Hi"}],
    "chosen": {"from": "gpt", "value": "Hello"},
    "rejected": {"from": "gpt", "value": "What"},
}


def test_a_chat_is_prepared_as_the_question_that_it_asks_with_all_its_columns(tmp_path: Path) -> None:
    rows = [
        {"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}], "source": "faq"},
    ]
    data = tmp_path / "chats.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    file = prepare_dataset(
        data, dataset_upload_format(Method.GRPO, "openai", "openai"), tmp_path / "files", questions=True
    )
    assert (file.format, file.rows, file.left_out) == ("openai-reinforcement", 1, ())
    assert [json.loads(line) for line in file.path.read_text().splitlines()] == [
        {"messages": [{"role": "user", "content": "Hi"}], "source": "faq", "answer": "Hello"}
    ]
    text = tmp_path / "text.jsonl"
    text.write_text('{"text": "nothing is asked"}\n')
    with pytest.raises(ConversionLossError, match="needs a user's message before the last answer"):
        prepare_dataset(text, "openai-reinforcement", tmp_path / "files", questions=True)


def test_questions_without_answers_are_enough_for_methods_that_answer_them(tmp_path: Path) -> None:
    asked = write(tmp_path / "asked.jsonl", [{"messages": [{"role": "user", "content": "Bye"}]}])
    chats = write(tmp_path / "chats.jsonl", [chat("Hi", "Hello")])
    formats = [Dataset(path).for_method(Method.GRPO).given_format for path in (asked, chats)]
    assert formats == ["openai-reinforcement", None]
    assert Dataset(chats).for_method(Method.RFT).format == "openai-reinforcement"
    file = prepare_dataset(
        Dataset(asked, format=formats[0]), "openai-reinforcement", tmp_path / "files", questions=True
    )
    assert file.rows == 1


def test_prepare_is_content_addressed_and_idempotent(tmp_path: Path) -> None:
    source = write(tmp_path / "a.jsonl", [{"instruction": "a", "input": "", "output": "b"}] * 12)
    store = tmp_path / "home" / "files"
    first = prepare_dataset(source, "openai", store)
    content = first.path.read_bytes()
    assert first.path == store / f"{hashlib.sha256(content).hexdigest()}.jsonl"
    assert (first.rows, first.bytes, first.format) == (12, len(content), "openai")
    assert json.loads(content.splitlines()[0]) == chat("a", "b")
    assert first.trained_tokens == 12 * 11
    written = first.path.stat().st_mtime_ns
    again = prepare_dataset(write(tmp_path / "b.jsonl", [chat("a", "b")] * 12), "openai", store)
    assert again == first and again.path.stat().st_mtime_ns == written
    assert os.listdir(store) == [first.path.name]


def test_only_what_is_trained_on_leaves(tmp_path: Path) -> None:
    row = chat("a", "b", customer="C-17")
    row["messages"][1] |= {"timestamp": 5, "weight": 1}
    prepared = prepare_dataset(write(tmp_path / "a.jsonl", [row]), "openai", tmp_path / "files")
    assert prepared.left_out == ("customer", "messages[].timestamp")
    kept = chat("a", "b")
    kept["messages"][1]["weight"] = 1
    assert json.loads(prepared.path.read_text()) == kept


def test_all_problems_are_listed_and_nothing_is_left(tmp_path: Path) -> None:
    source = write(tmp_path / "a.jsonl", [chat("a", "b"), {"messages": []}, chat("a", "b"), "{"])
    with pytest.raises(DatasetError) as caught:
        prepare_dataset(source, "openai", tmp_path / "files")
    assert [problem.line for problem in caught.value.problems] == [2, 4]
    assert os.listdir(tmp_path / "files") == []


def test_losses_need_permission(tmp_path: Path) -> None:
    source = write(tmp_path / "a.jsonl", [PAIR])
    with pytest.raises(ConversionLossError, match="it cannot hold a rejected answer"):
        prepare_dataset(source, "openai", tmp_path / "files")
    assert prepare_dataset(source, "openai", tmp_path / "files", allow_loss=True).rows == 1
    assert prepare_dataset(source, "openai-preference", tmp_path / "files").trained_tokens is None  # no rule is known


@pytest.mark.parametrize(
    ("code", "first"),
    [
        (errno.ENOSPC, "free some space, or "),
        (errno.EDQUOT, "free some space, or "),
        (errno.EACCES, "mend its permissions, or "),
        (errno.EROFS, ""),
    ],
)
def test_a_disk_that_refuses_is_not_the_datasets_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, first: str
) -> None:
    def refuse(descriptor: int) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr("os.fsync", refuse)
    with pytest.raises(StorageError, match=f"{os.strerror(code)}; {first}set TUNEPORT_HOME"):
        prepare_dataset(write(tmp_path / "a.jsonl", [chat("a", "b")]), "openai", tmp_path / "files")
    assert os.listdir(tmp_path / "files") == []


@pytest.mark.parametrize("store", ["files", "files/deeper"])
def test_a_store_that_is_a_file_is_told(tmp_path: Path, store: str) -> None:
    (tmp_path / "files").write_text("")
    with pytest.raises(StorageError, match="files.* cannot be created: .*set TUNEPORT_HOME"):
        prepare_dataset(write(tmp_path / "a.jsonl", [chat("a", "b")]), "openai", tmp_path / store)


def test_method_by_data(tmp_path: Path) -> None:
    assert Dataset(write(tmp_path / "a.jsonl", [PAIR])).method is Method.DPO
    assert Dataset(write(tmp_path / "b.jsonl", [chat("a", "b")])).method is Method.SFT


def test_a_loss_is_not_answered_with_a_flag_that_submit_lacks(tmp_path: Path) -> None:
    weighted = chat("a", "b")
    weighted["messages"][1]["weight"] = 0
    path = write(tmp_path / "a.jsonl", [weighted, chat("a", "b")])
    with pytest.raises(ConversionLossError) as raised:
        prepare_dataset(Dataset(path, format="openai"), "alpaca", tmp_path / "files")
    said = str(raised.value)
    assert "pass --allow-loss" not in said
    assert said.endswith(f"tuneport convert {path} --format openai --to alpaca --allow-loss -o kept.jsonl")
