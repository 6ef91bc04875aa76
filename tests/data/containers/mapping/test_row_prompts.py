"""Prompts made of columns, and the system prompt: the same wherever a file is read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.support.rows import chat, write
from tuneport.data.containers.mapping.row_prompts import RowPrompts
from tuneport.data.conversion.prepare import prepare_dataset
from tuneport.data.dataset import Dataset
from tuneport.data.split import split
from tuneport.errors import ConfigError, DatasetError

TICKETS = """subject,body text,team,id
Printer,It burns.,hardware,1
Login,No {id} works.,accounts,2
Refund,,billing,3
"""
TEMPLATE = "{{Ticket}} {subject}\n{body text}"
SYSTEM = "Name the team."


def prepared(dataset: Dataset, folder: Path) -> list[list[tuple[str, str]]]:
    lines = prepare_dataset(dataset, "openai", folder / "files").path.read_text().splitlines()
    return [[(each["role"], each["content"]) for each in json.loads(line)["messages"]] for line in lines]


def test_a_prompt_is_made_of_columns(tmp_path: Path) -> None:
    path = tmp_path / "tickets.csv"
    path.write_text(TICKETS)
    data = Dataset(path, {"completion": "team"}, template=TEMPLATE, system=SYSTEM)
    assert prepared(data, tmp_path)[:2] == [
        [("system", SYSTEM), ("user", "{Ticket} Printer\nIt burns."), ("assistant", "hardware")],
        [("system", SYSTEM), ("user", "{Ticket} Login\nNo {id} works."), ("assistant", "accounts")],
    ]
    assert prepared(data, tmp_path)[2][1] == ("user", "{Ticket} Refund\n"), "an empty cell is an empty text"
    assert prepare_dataset(data, "openai", tmp_path / "files").left_out == ("id",), "what the template used is not"
    plain = Dataset(path, {"completion": "team"}, template=TEMPLATE)
    assert plain.format == "prompt-completion" and [role for role, _ in prepared(plain, tmp_path)[0]] == [
        "user",
        "assistant",
    ]
    alpaca = Dataset(path, {"output": "team"}, "alpaca", template="{subject}")
    assert prepared(alpaca, tmp_path)[0] == [("user", "Printer"), ("assistant", "hardware")]


@pytest.mark.parametrize("format", [None, "prompt-completion", "trl"])
def test_a_system_prompt_makes_chats_of_prompts(tmp_path: Path, format: str | None) -> None:
    path = write(tmp_path / "a.jsonl", [{"prompt": "a", "completion": "b"}])
    expected = [("system", SYSTEM), ("user", "a"), ("assistant", "b")]
    assert prepared(Dataset(path, None, format, system=SYSTEM), tmp_path) == [expected]


@pytest.mark.parametrize(
    "row",
    [
        chat("a", "b"),
        {"conversations": [{"from": "human", "value": "a"}, {"from": "gpt", "value": "b"}]},
        {"instruction": "a", "output": "b"},
        {"prompt": [{"role": "user", "content": "a"}], "completion": [{"role": "assistant", "content": "b"}]},
        {"contents": [{"role": "user", "parts": [{"text": "a"}]}, {"role": "model", "parts": [{"text": "b"}]}]},
    ],
)
def test_a_system_prompt_is_added_where_there_is_none(tmp_path: Path, row: dict[str, Any]) -> None:
    path = write(tmp_path / "a.jsonl", [row])
    assert prepared(Dataset(path, system=SYSTEM), tmp_path) == [[("system", SYSTEM), ("user", "a"), ("assistant", "b")]]


@pytest.mark.parametrize(
    "row",
    [
        {"messages": [{"role": "system", "content": "Own."}, *chat("a", "b")["messages"]]},
        {"system": "Own.", "conversations": [{"from": "human", "value": "a"}, {"from": "gpt", "value": "b"}]},
        {"conversations": [{"from": each, "value": "Own."} for each in ("system", "human", "gpt")]},
        {"instruction": "a", "output": "b", "system": "Own."},
    ],
)
def test_a_system_prompt_of_the_row_stays(tmp_path: Path, row: dict[str, Any]) -> None:
    path = write(tmp_path / "a.jsonl", [row])
    assert prepared(Dataset(path, system=SYSTEM), tmp_path)[0][0] == ("system", "Own.")


def test_pairs_get_it_too(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", [{"prompt": "a", "chosen": "b", "rejected": "c"}])
    file = prepare_dataset(Dataset(path, system=SYSTEM), "openai-preference", tmp_path / "files")
    assert json.loads(file.path.read_text())["input"]["messages"][0] == {"role": "system", "content": SYSTEM}


def test_a_column_that_is_not_there_is_told_before_any_row_is_used(tmp_path: Path) -> None:
    path = tmp_path / "tickets.csv"
    path.write_text(TICKETS)
    with pytest.raises(DatasetError) as raised:
        _ = Dataset(path, {"completion": "team"}, template="{subjct}").format
    assert "no record has the column 'subjct', which the template names; name one of its columns (subject, body" in str(
        raised.value
    )
    with pytest.raises(ConfigError, match="the template names no column"):
        Dataset(path, template="Always the same {{}}").open()


def test_a_row_without_what_the_template_needs_is_told(tmp_path: Path) -> None:
    rows = [{"subject": "a", "completion": "b"}, {"subject": None, "completion": "b"}]
    with pytest.raises(DatasetError, match=r"a.jsonl:2.* has nothing in the columns of the template \(subject\)"):
        prepared(Dataset(write(tmp_path / "a.jsonl", rows), template="About {subject}"), tmp_path)
    talk = Dataset(write(tmp_path / "b.jsonl", [chat("a", "b")]), None, "openai", template="{messages}")
    with pytest.raises(DatasetError, match="holds a conversation, of which a template makes nothing"):
        prepared(talk, tmp_path)
    text = Dataset(write(tmp_path / "c.jsonl", [{"text": "a b"}]), None, "text", system=SYSTEM)
    with pytest.raises(DatasetError, match="is plain text, which has no place for a system prompt"):
        prepare_dataset(text, "text", tmp_path / "files")


def test_nothing_in_a_template_is_evaluated() -> None:
    prompts = RowPrompts("{a.__class__} {a!r} {0} {b:>9} {a}", None)
    row = json.loads(prompts.row(b'{"a": 1.50, "b": [true, "{a}"], "completion": "c"}'))
    assert row["prompt"] == "    1.50" and prompts.missing == ["a.__class__", "a!r", "0", "b:>9"]
    assert row["b"] == [True, "{a}"]
    assert json.loads(RowPrompts("{b}", None).row(b'{"a": 1, "b": [true, "{a}"]}'))["prompt"] == '[true, "{a}"]'


def test_a_key_that_stands_twice_is_still_told(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"prompt": "a", "prompt": "b", "completion": "c"}\n')
    with pytest.raises(DatasetError, match="twice"):
        prepared(Dataset(path, None, "trl", system=SYSTEM), tmp_path)


def test_a_split_and_its_hold_out_are_read_without_them_and_with_them(tmp_path: Path) -> None:
    path = tmp_path / "tickets.csv"
    path.write_text("subject,team\n" + "".join(f"Thing {each} is broken,team {each % 3}\n" for each in range(40)))
    data = Dataset(path, {"completion": "team"}, template="Who mends: {subject}", system=SYSTEM)
    made = split(data, 0.2, output=tmp_path / "out")
    for file in (made.train, made.validation):
        assert prepared(Dataset(file), tmp_path) == prepared(data.validation_like(file), tmp_path)
        assert prepared(Dataset(file), tmp_path)[0][0] == ("system", SYSTEM)
