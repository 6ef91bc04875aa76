"""A key that stands twice in one object is told with its place: parsers would take the last and drop the rest."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.rows import chat, write
from tuneport.data.checks import check_dataset
from tuneport.data.clean import clean
from tuneport.data.conversion.convert import convert
from tuneport.data.conversion.fast_path import _READERS, _WRITERS, PlainRowConverter
from tuneport.data.dataset import Dataset
from tuneport.data.formats import load_dataset_format
from tuneport.data.formats.contract import InvalidRecord
from tuneport.data.reading import read_records
from tuneport.data.rows.repeated_keys import repeated_keys
from tuneport.errors import DatasetError

SAID = 'say "a\\b" \n: {"role": 1}'
TURNS = [{"role": "user", "content": SAID}, {"role": "assistant", "content": "b"}]
ROWS: dict[str, dict[str, Any]] = {
    "openai": {"messages": [{"role": "system", "content": "s"}, *TURNS]},
    "openai-preference": {
        "input": {"messages": TURNS[:1]},
        "preferred_output": TURNS[1:],
        "non_preferred_output": [{"role": "assistant", "content": "c"}],
    },
    "anthropic": {"system": "s", "messages": TURNS},
    "sharegpt": {"conversations": [{"from": "human", "value": SAID}, {"from": "gpt", "value": "b"}]},
    "alpaca": {"instruction": SAID, "input": "", "output": "b"},
    "prompt-completion": {"prompt": SAID, "completion": "b"},
    "text": {"text": SAID},
    "chatml": {"text": "<|im_start|>user\na<|im_end|>\n<|im_start|>assistant\nb<|im_end|>\n"},
    "together": {"messages": TURNS},
    "trl": {"messages": TURNS},
    "llamafactory": {"messages": [{"role": "user", "content": [{"type": "text", "value": SAID}], "loss_weight": 0.0}]},
    "gemini": {"contents": [{"role": "user", "parts": [{"text": SAID}]}, {"role": "model", "parts": [{"text": "b"}]}]},
}


def spelled(value: Any, quote: str, twice: list[int], *, ascii_only: bool) -> str:
    """JSON in which the n-th key (counted from the outside in, `twice` counts down) is written once more."""
    if isinstance(value, dict):
        pairs = []
        for key, item in value.items():
            twice[0] -= 1
            again = twice[0] == 0
            pair = f'"{key}" : {spelled(item, quote, twice, ascii_only=ascii_only)}'
            pairs += [f'"{key}":{json.dumps("dropped")}', pair] if again else [pair]
        return "{" + ", ".join(pairs) + "}"
    if isinstance(value, list):
        return "[" + ",".join(spelled(item, quote, twice, ascii_only=ascii_only) for item in value) + "]"
    return json.dumps(value, ensure_ascii=ascii_only).replace('\\"', quote)


def keys(value: Any) -> int:
    if isinstance(value, dict):
        return len(value) + sum(map(keys, value.values()))
    return sum(map(keys, value)) if isinstance(value, list) else 0


@pytest.mark.parametrize("name", ROWS)
@given(data=st.data())
@settings(max_examples=60, deadline=None)
def test_wherever_it_stands(name: str, data: st.DataObject) -> None:
    row, known = ROWS[name], load_dataset_format(name)
    quote = data.draw(st.sampled_from(('\\"', "\\u0022")))
    where = data.draw(st.integers(1, keys(row)))
    raw = spelled(row, quote, [where], ascii_only=data.draw(st.booleans())).encode()
    assert repeated_keys(raw)
    with pytest.raises(InvalidRecord) as error:
        known.read_format_row(raw)
    assert {problem.rule for problem in error.value.problems} == {
        f"has the key {key!r} twice" for _, key in repeated_keys(raw)
    }
    if name in _READERS:
        for target in _WRITERS:
            assert PlainRowConverter(name, target).convert([raw], raw).lines is None
    whole = spelled(row, quote, [0], ascii_only=True).encode()
    if name != "llamafactory":  # whose row here has no answer
        known.read_format_row(whole)


def test_it_is_told_with_file_line_place_and_key(tmp_path: Path) -> None:
    twice = '{"messages": [{"role": "user", "content": "x", "content": "a"}, {"role": "assistant", "content": "b"}]}'
    path = write(tmp_path / "a.jsonl", [chat("a", "b"), twice, chat("c", "d")])
    with pytest.raises(DatasetError) as error:
        list(read_records(path))
    assert str(error.value) == (
        f"{path}:2: messages[0]: has the key 'content' twice; "
        "keep one of them: JSON readers take the last and drop the others"
    )
    with pytest.raises(DatasetError, match="has the key 'content' twice"):
        convert(path, "alpaca", tmp_path / "b.jsonl")
    assert check_dataset(path).flagged["schema.invalid"] == [2]
    assert clean(path, tmp_path / "c.jsonl").written == 2
    log = (tmp_path / "c.jsonl.log.jsonl").read_text()
    assert '"content": "x", "content": "a"' in log  # nothing of it is lost there, either


def test_in_the_json_of_a_cell_and_in_a_mapped_row(tmp_path: Path) -> None:
    table = tmp_path / "a.csv"
    table.write_text(
        'messages\n"[{""role"":""user"",""content"":""a""},{""role"":""assistant"",""content"":""b""}]"\n'
        '"[{""role"":""user"",""content"":""a"",""content"":""b""},{""role"":""assistant"",""content"":""b""}]"\n'
    )
    with pytest.raises(DatasetError, match=r"a.csv:3: messages\[0\] has the key 'content' twice; keep one"):
        list(read_records(table))
    rows = write(tmp_path / "b.jsonl", ['{"q": "a", "answer": "b"}', '{"q": "a", "q": "c", "answer": "b"}'])
    with pytest.raises(DatasetError, match="b.jsonl:2: has the key 'q' twice"):
        list(Dataset(rows, {"prompt": "q", "completion": "answer"}).records())


def test_in_the_json_of_a_call(tmp_path: Path) -> None:
    called = {"from": "function_call", "value": '{"name": "f", "name": "g", "arguments": {}}'}
    row = {"conversations": [{"from": "human", "value": "a"}, called], "tools": '[{"name": "f", "name": "g"}]'}
    with pytest.raises(DatasetError) as error:
        list(read_records(write(tmp_path / "a.jsonl", [row]), "sharegpt"))
    assert {(each.field, each.rule) for each in error.value.problems} == {
        ("tools[0]", "has the key 'name' twice"),
        ("conversations[1].value", "has the key 'name' twice in a call"),
    }


def test_arguments_of_a_call_keep_what_they_have(tmp_path: Path) -> None:
    call = {"id": "1", "type": "function", "function": {"name": "f", "arguments": '{"a": 1, "a": 2}'}}
    row = chat("a", "b")
    row["messages"][1] = {"role": "assistant", "tool_calls": [call]}
    path = write(tmp_path / "a.jsonl", [row])
    convert(path, "sharegpt", tmp_path / "b.jsonl", allow_loss=True)
    convert(tmp_path / "b.jsonl", "openai", tmp_path / "c.jsonl", allow_loss=True)
    assert '{\\"a\\": 1, \\"a\\": 2}' in (tmp_path / "c.jsonl").read_text()
