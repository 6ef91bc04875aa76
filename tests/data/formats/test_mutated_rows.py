"""Rows that were broken on purpose: every reader refuses them with a place, or reads what every writer can write."""

from __future__ import annotations

import json
import random
from typing import Any

import msgspec
import pytest

from tests.data.formats.test_formats import CALLS
from tests.data.formats.test_trainer_formats import CHATML, PAIR, PNG, typed
from tests.support.rows import chat
from tuneport.data.conversion.conversion_loss import write_converted_row
from tuneport.data.formats import FORMATS, load_dataset_format
from tuneport.data.formats.contract import InvalidRecord
from tuneport.data.rows.records import Labelled

VALUES: list[Any] = [
    None, True, 0, -1.5, 10**30, "", "a", "\ud800", "<image>", "<|im_start|>", "{", '[{"name": "f"}]', [], {}, [None],
    [[]], [{}], {"a": None}, [{"role": "user"}], {"type": "image"}, {"parts": [{}]}, "user", "assistant", "text",
    {"text": 1}, [{"type": "text", "text": "a", "value": "b"}], {"name": "f", "args": {}, "arguments": {}},
]  # fmt: skip


def seeds() -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = [
        {"text": CHATML},
        {**chat("a", "b", system="s"), "weight": 1, "images": [PNG], "tools": "[]"},
        {"conversations": [{"from": "human", "value": "<image>a"}, {"from": "gpt", "value": "b"}], "images": [PNG]},
        {"instruction": "a", "input": "b", "output": "c", "kto_tag": True, "history": [["a", "b"]]},
        {"messages": [typed("user", "a"), typed("assistant", "b", loss_weight=1.0)]},
        {"prompt": [{"role": "user", "content": [{"type": "image"}]}], "completion": "b", "images": [PNG]},
        {"messages": [{"role": "user", "content": "2 + 2?"}], "answer": "4", "difficulty": {"level": 1}},
    ]
    for record in (CALLS, PAIR, Labelled(PAIR.context + PAIR.chosen, True)):
        for name in FORMATS:
            row, _ = write_converted_row(load_dataset_format(name), record)
            rows += [] if row is None else [json.loads(row)]
    return rows


def places(value: Any) -> list[tuple[Any, Any]]:
    """Each container in the row with one of its keys."""
    here = list(value.items()) if isinstance(value, dict) else list(enumerate(value)) if isinstance(value, list) else []
    return [place for key, item in here for place in [(value, key), *places(item)]]


def mutated(row: dict[str, Any], dice: random.Random) -> dict[str, Any]:
    row = json.loads(json.dumps(row))
    for _ in range(dice.randint(1, 2)):
        container, key = dice.choice(places(row) or [(row, "a")])
        if dice.random() < 0.25 and key in (container if isinstance(container, dict) else range(len(container))):
            del container[key]
        else:
            if dice.random() < 0.2 and isinstance(container, dict):
                key = dice.choice(["role", "content", "tool_calls", "name", "system", "tools", "label", "text"])
            container[key] = json.loads(json.dumps(dice.choice(VALUES)))
    return row


@pytest.mark.parametrize("name", FORMATS)
def test_no_reader_or_writer_falls_over(name: str) -> None:
    dice, format = random.Random(name), load_dataset_format(name)
    rows, reads = seeds(), 0
    own = [row for row in rows if format.likeness(row)[0] > 0]
    writers = [load_dataset_format(target) for target in FORMATS]
    for _ in range(1500):
        row = mutated(dice.choice(rows if dice.random() < 0.2 else own), dice)
        line = json.dumps(row).encode()
        score, reason = format.likeness(row)
        assert 0 <= score <= 1 and reason
        try:
            record = format.read_format_row(line)
        except InvalidRecord as error:
            assert all(problem.rule and problem.fix for problem in error.problems)
            continue
        except (msgspec.DecodeError, UnicodeDecodeError):
            continue  # such as a lone surrogate, which reading files tells as such
        reads += 1
        format.note_row_spelling(line)
        for writer in writers:
            write_converted_row(writer, record)
    assert reads > 50
