"""The fast way writes the bytes of the slow one, or leaves the rows to it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.rows import chat, write
from tuneport.data.conversion.conversion_loss import write_converted_row
from tuneport.data.conversion.convert import convert
from tuneport.data.conversion.fast_path import _READERS, _WRITERS, PlainRowConverter
from tuneport.data.formats import load_dataset_format
from tuneport.data.formats.contract import InvalidRecord

TEXT = st.text(st.characters(codec="utf-8"), max_size=8)
TURNS = st.lists(st.tuples(st.sampled_from(("system", "user", "assistant")), TEXT), max_size=5)
SPEAKERS = {"system": "system", "user": "human", "assistant": "gpt"}
ROWS = {
    "openai": TURNS.map(lambda turns: {"messages": [{"role": role, "content": text} for role, text in turns]}),
    "sharegpt": TURNS.map(lambda turns: {"conversations": [{"from": SPEAKERS[r], "value": text} for r, text in turns]}),
    "alpaca": st.fixed_dictionaries({"instruction": TEXT, "output": TEXT}, optional={"input": TEXT, "system": TEXT}),
    "prompt-completion": st.fixed_dictionaries({"prompt": TEXT, "completion": TEXT}, optional={"id": TEXT}),
}


@pytest.mark.parametrize("target", list(_WRITERS))
@pytest.mark.parametrize("source", list(_READERS))
@given(data=st.data())
@settings(max_examples=40, deadline=None)
def test_both_ways_write_the_same(source: str, target: str, data: st.DataObject) -> None:
    row = data.draw(ROWS[source])
    raw = json.dumps(row, ensure_ascii=data.draw(st.booleans())).encode()
    plain = PlainRowConverter(source, target)
    fast, _, noteworthy = plain.convert([raw], raw)
    if fast is None:
        return
    known = load_dataset_format(source)
    try:
        written, lost = write_converted_row(load_dataset_format(target), known.read_format_row(raw))
    except InvalidRecord as error:
        raise AssertionError(f"{raw!r} is no record, and was converted") from error
    assert (fast, lost) == ((written or b"") + b"\n", [])
    assert noteworthy == bool(known.note_row_spelling(raw))


def test_the_usual_rows_go_the_fast_way() -> None:
    rows = [json.dumps(chat("a", "b", system="s")).encode()] * 3
    for target in ("openai", "alpaca", "sharegpt"):
        assert (PlainRowConverter("openai", target).convert(rows, b"".join(rows)).lines or b"").count(b"\n") == 3


@pytest.mark.parametrize(
    "rows",
    [
        [b'{"prompt":"a","completion":"b"}', b""],
        [b'{"prompt":"a","completion":"b"}{"prompt":"a","completion":"b"}', b'{"prompt":"a",', b'"completion":"b"}'],
        [b'{"prompt":"a","completion":"b"} {"prompt":"a","completion":"b"}'],
        [b'{"prompt":"a","completion":"b","x":1}'],
        [b'{"prompt":"a","completion":"\xff"}'],
        [b"[]"],
    ],
)
def test_rows_that_are_not_one_plain_record_each_are_left_to_the_formats(rows: list[bytes]) -> None:
    assert PlainRowConverter("prompt-completion", "openai").convert(rows, b"".join(rows)).lines is None


def test_odd_rows_among_plain_ones_are_converted_and_told(tmp_path: Path) -> None:
    rows = [chat(f"q{at}", "a") for at in range(1000)]
    rows[500] = {**rows[500], "id": 7}
    source = write(tmp_path / "a.jsonl", rows)
    convert(source, "openai", tmp_path / "b.jsonl")
    assert [json.loads(line) for line in (tmp_path / "b.jsonl").read_bytes().splitlines()] == rows
    rows[700]["messages"][1]["weight"] = 0
    report = convert(write(source, rows), "alpaca", tmp_path / "c.jsonl", allow_loss=True)
    assert [(loss.field, loss.lines) for loss in report.losses] == [("messages[].weight", (701,))]
    assert report.rows == report.written == 1000
