"""Datasets that others made, and this project's own, without special treatment."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest

from tests.support.folders import FIXTURES
from tuneport.data.checks import check_dataset
from tuneport.data.conversion.convert import convert
from tuneport.data.conversion.prepare import prepare_dataset
from tuneport.data.dataset import Dataset
from tuneport.data.formats import FORMATS, load_dataset_format
from tuneport.data.formats.contract import is_equivalent_record
from tuneport.data.reading import read_records
from tuneport.data.rows.records import Chat
from tuneport.errors import ConversionLossError

TOOLS = ("openai", "anthropic", "sharegpt", "together", "trl", "llamafactory", "gemini")
CHATS = (*TOOLS, "chatml")
PAIRS = ("openai-preference", "sharegpt", "alpaca", "together", "trl", "llamafactory", "gemini")
HELD = [
    ("alpaca_en_demo.json", "alpaca", 999, (*CHATS, "alpaca", "prompt-completion")),
    ("glaive_toolcall_en_demo.json", "sharegpt", 300, TOOLS),
    ("dpo_en_demo.json", "sharegpt", 299, PAIRS),
    ("toy_chat_fine_tuning.jsonl", "openai", 5, CHATS),
    ("gpt_tokens_fine-tuning-data.jsonl", "openai", 13, (*CHATS, "alpaca")),
]
NO_PAIRS, NO_TEXT = dict.fromkeys(("openai-preference", "openai-reinforcement"), {"record"}), {"text": {"record"}}
NO_REJECTED = dict.fromkeys(("openai", "anthropic", "chatml"), {"rejected"})
LOST = {
    "alpaca_en_demo.json": NO_PAIRS | NO_TEXT,
    "glaive_toolcall_en_demo.json": NO_PAIRS
    | NO_TEXT
    | {"chatml": {"tools"}}
    | dict.fromkeys(("alpaca", "prompt-completion"), {"tools", "messages[].tool_calls", "messages[]"}),
    "dpo_en_demo.json": NO_TEXT
    | {"openai-reinforcement": {"record"}}
    | NO_REJECTED
    | {"prompt-completion": {"rejected", "messages[]"}},
    "toy_chat_fine_tuning.jsonl": NO_PAIRS | NO_TEXT | dict.fromkeys(("alpaca", "prompt-completion"), {"messages[]"}),
    "gpt_tokens_fine-tuning-data.jsonl": NO_PAIRS | NO_TEXT | {"prompt-completion": {"messages[]"}},
}


@pytest.mark.parametrize(("name", "format", "rows", "targets"), HELD)
def test_every_file_goes_to_every_format_that_holds_it_and_back(
    shared_data: Path, tmp_path: Path, name: str, format: str, rows: int, targets: tuple[str, ...]
) -> None:
    source = shared_data / name
    assert (Dataset(source).format, Dataset(source).detection.confidence) == (format, 1.0)
    records = [record for _, record in read_records(source)]
    assert len(records) == rows
    first = tmp_path / "first.jsonl"
    convert(source, format, first)
    assert {*targets, *LOST[name]} == {*FORMATS}
    for target in targets:
        there, back = tmp_path / f"{target}.jsonl", tmp_path / "back.jsonl"
        assert convert(source, target, there).losses == ()
        assert convert(there, format, back, format=target).losses == ()
        assert back.read_bytes() == first.read_bytes()
        found = Dataset(there).format  # the format, or another that reads its rows the same
        assert all(
            is_equivalent_record(one, other)
            for (_, one), (_, other) in zip(read_records(there, target), read_records(there, found), strict=True)
        )


@pytest.mark.parametrize("name", LOST)
def test_what_the_other_formats_cannot_hold_is_named(shared_data: Path, tmp_path: Path, name: str) -> None:
    for target, fields in LOST[name].items():
        with pytest.raises(ConversionLossError) as caught:
            convert(shared_data / name, target, tmp_path / "a.jsonl")
        assert {loss.field for loss in caught.value.losses} == fields, target


def test_tools_go_round_through_every_format_that_holds_them(shared_data: Path, tmp_path: Path) -> None:
    """One after the other, each from what the one before it wrote."""
    source = shared_data / "glaive_toolcall_en_demo.json"
    records = [record for _, record in read_records(source)]
    last, format = source, "sharegpt"
    for target in ("openai", "anthropic", "gemini", "llamafactory", "together", "trl", "sharegpt"):
        path = tmp_path / f"{target}.jsonl"
        assert convert(last, target, path, format=format).losses == ()
        last, format = path, target
    assert [record for _, record in read_records(last, format)] == records


@pytest.mark.parametrize("target", CHATS)
def test_converted_files_are_checked_as_the_source_is(shared_data: Path, tmp_path: Path, target: str) -> None:
    source, path = shared_data / "toy_chat_fine_tuning.jsonl", tmp_path / "a.jsonl"
    convert(source, target, path)
    there, here = check_dataset(path, format=target), check_dataset(source)
    assert (there.rows, there.tokens.total) == (here.rows, here.tokens.total)


def test_tool_calls_survive_with_their_spelling(shared_data: Path, tmp_path: Path) -> None:
    source = json.loads((shared_data / "glaive_toolcall_en_demo.json").read_text(encoding="utf-8"))
    path = shared_data / "glaive_toolcall_en_demo.json"
    for target in ("openai", "anthropic"):
        convert(path, target, tmp_path / "a.jsonl")
        convert(tmp_path / "a.jsonl", "sharegpt", tmp_path / "b.json", format=target)
        back = json.loads((tmp_path / "b.json").read_text(encoding="utf-8"))
        for before, after in zip(source, back, strict=True):
            assert after["conversations"] == before["conversations"]
            assert json.loads(after.get("tools", "[]")) == json.loads(before["tools"])


def test_openai_to_anthropic_and_back_keeps_calls_and_results(tmp_path: Path) -> None:
    source = FIXTURES / "datasets" / "support_tools.jsonl"
    report = convert(source, "anthropic", tmp_path / "a.jsonl", allow_loss=True)
    assert {loss.field for loss in report.losses} == {"parallel_tool_calls", "messages[].weight"}
    convert(tmp_path / "a.jsonl", "openai", tmp_path / "b.jsonl")
    for (_, record), (_, back) in zip(read_records(source), read_records(tmp_path / "b.jsonl"), strict=True):
        assert isinstance(record, Chat)
        record.parallel_tool_calls = None
        for message in record.messages:
            message.weight = None
        assert back == record


@pytest.mark.parametrize("format", ["anthropic", "alpaca", "sharegpt"])
def test_the_forms_of_the_demo_dataset_are_the_same_records(format: str) -> None:
    folder = FIXTURES / "datasets"
    source = [record for _, record in read_records(folder / "support_intents.train.jsonl", "openai")]
    copy = folder / f"support_intents.train.{format}.jsonl"
    assert Dataset(copy).format == format
    assert [record for _, record in read_records(copy)] == source


def test_the_prompt_completion_form_has_the_system_prompt_in_the_prompt() -> None:
    folder = FIXTURES / "datasets"
    copy = read_records(folder / "support_intents.train.prompt-completion.jsonl")
    for (_, record), (_, row) in zip(read_records(folder / "support_intents.train.jsonl"), copy, strict=True):
        assert isinstance(record, Chat)
        system, question, answer = record.messages
        assert (row.prompt, row.completion) == (f"{system.text}\n\n{question.text}", answer.text)  # type: ignore[union-attr]


def test_real_files_are_checked_and_prepared(shared_data: Path, tmp_path: Path) -> None:
    for name, _, rows, _ in HELD:
        path = shared_data / name
        report = check_dataset(path)
        assert report.rows == report.tokens.rows == rows
        assert report.finding("schema").verdict == "pass" and report.method == Dataset(path).method
        json.dumps(report.as_dict())
        target = "openai-preference" if report.method == "dpo" else "openai"
        prepared = prepare_dataset(path, target, tmp_path / "files")
        assert prepared.rows == rows
        read = load_dataset_format(target).read_format_row
        for line in prepared.path.read_bytes().splitlines():
            read(line)
            assert msgspec.json.decode(line)
