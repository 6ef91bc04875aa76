"""Each format's own rows are found as its own; a row that is the same in several, as the first of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings

from tests.data.formats.test_round_trips import records
from tests.data.formats.test_trainer_formats import CHATML, PNG, typed
from tests.support.rows import chat, write
from tuneport.data.dataset import Dataset
from tuneport.data.formats import FORMATS, load_dataset_format
from tuneport.data.formats.contract import is_equivalent_record
from tuneport.data.rows.records import Record
from tuneport.errors import DatasetError

USER, ANSWER = {"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}
CALL = {"role": "assistant", "tool_calls": [{"type": "function", "function": {"name": "f", "arguments": {}}}]}
TYPED_PICTURE = {"role": "user", "content": [{"type": "image_url", "value": "x"}]}
MARKED = [{"role": "user", "content": "<image>a"}, ANSWER]
TURNS = [{"from": "human", "value": "a"}, {"from": "gpt", "value": "b"}]


@pytest.mark.parametrize(
    ("row", "format", "confidence"),
    [
        ({"text": "a"}, "text", 1.0),
        ({"text": "a", "source": "b"}, "text", 0.9),
        ({"text": CHATML}, "chatml", 1.0),
        ({**chat("a", "b"), "weight": 0.5}, "together", 1.0),
        ({**chat("a", "b", system="s"), "weight": 0.5}, "together", 1.0),
        ({"prompt": "a", "completion": "b", "weight": 1}, "together", 1.0),
        ({"text": "a", "weight": 1}, "together", 1.0),
        ({"input": {"messages": []}, "preferred_output": [], "non_preferred_output": [], "weight": 2}, "together", 1.0),
        ({"prompt": "a", "completion": "b", "label": True}, "trl", 1.0),
        ({"prompt": [USER], "completion": [ANSWER]}, "trl", 1.0),
        ({"prompt": "a", "chosen": "b", "rejected": "c"}, "trl", 1.0),
        ({"chosen": [USER, ANSWER], "rejected": [USER, ANSWER]}, "trl", 1.0),
        ({"messages": [USER, CALL]}, "trl", 1.0),
        ({"messages": [{"role": "user", "content": [{"type": "image", "url": "x"}]}, ANSWER]}, "trl", 1.0),
        ({"messages": [typed("user", "a"), typed("assistant", "b")]}, "llamafactory", 1.0),
        (
            {"messages": [{"role": "user", "content": [{"type": "image_url", "value": "x"}]}, ANSWER]},
            "llamafactory",
            1.0,
        ),
        ({"messages": MARKED, "images": ["a.jpg"]}, "llamafactory", 1.0),
        ({"messages": [USER, ANSWER], "images": ["a.jpg"]}, "llamafactory", 1.0),
        ({"messages": [USER, ANSWER], "videos": ["a.mp4"]}, "llamafactory", 1.0),
        ({"messages": MARKED, "image": "a.jpg"}, "llamafactory", 1.0),
        ({"messages": [USER, ANSWER], "image": "nginx:latest"}, "openai", 0.9),
        ({"id": "1", "image": "coco/a.jpg", "conversations": TURNS}, "llamafactory", 1.0),
        ({"conversations": TURNS, "image": {"bytes": None, "path": "a"}}, "llamafactory", 1.0),
        ({"instruction": "a", "output": "b", "images": ["a.jpg"]}, "llamafactory", 1.0),
        ({"conversations": TURNS, "image": "nginx:latest"}, "sharegpt", 1.0),
        ({"messages": [USER, ANSWER], "kto_tag": False}, "llamafactory", 1.0),
        ({"messages": [USER, ANSWER], "label": False}, "llamafactory", 1.0),
        ({"messages": [USER], "label": False}, "openai-reinforcement", 1.0),
        ({"messages": [USER, ANSWER], "label": "billing"}, "openai", 0.9),
        ({"messages": [USER, ANSWER], "images": []}, "openai", 0.9),
        ({"messages": [{"role": "user", "content": [{"type": "image"}]}, ANSWER], "images": ["a.jpg"]}, "trl", 1.0),
        ({"messages": [{"role": "user", "content": [{"type": "image"}]}, ANSWER], "image": "a.jpg"}, "trl", 1.0),
        ({"chosen_messages": [typed("user", "a")], "rejected_messages": [typed("user", "a")]}, "llamafactory", 1.0),
        ({"conversations": TURNS, "kto_tag": True}, "llamafactory", 1.0),
        ({"conversations": TURNS, "images": [PNG]}, "llamafactory", 1.0),
        ({"instruction": "a", "output": "b", "kto_tag": True}, "llamafactory", 1.0),
        ({"conversations": TURNS[:1], "chosen": TURNS[1], "rejected": TURNS[1]}, "sharegpt", 1.0),
        ({"instruction": "a", "chosen": "b", "rejected": "c"}, "alpaca", 1.0),
        ({"contents": [{"role": "user", "parts": [{"text": "a"}]}]}, "gemini", 1.0),
    ],
)
def test_detection(tmp_path: Path, row: dict[str, Any], format: str, confidence: float) -> None:
    detection = Dataset(write(tmp_path / "a.jsonl", [row])).detection
    assert (detection.format, detection.confidence) == (format, confidence), detection.reason


@pytest.mark.parametrize("plain", [{"messages": [USER, ANSWER], "images": []}, {"messages": MARKED, "images": []}])
def test_rows_without_pictures_among_rows_with_some_change_no_format(tmp_path: Path, plain: dict[str, Any]) -> None:
    rows = [{"messages": MARKED, "images": ["a.jpg"]}, {"messages": [USER, ANSWER], "images": []}]
    assert Dataset(write(tmp_path / "a.jsonl", rows)).detection.format == "llamafactory"
    assert Dataset(write(tmp_path / "b.jsonl", [plain, *rows])).detection.format == "llamafactory"


def test_rows_without_the_column_among_rows_with_pictures_are_told(tmp_path: Path) -> None:
    rows = [{"messages": MARKED, "images": ["a.jpg"]}, {"messages": [USER, ANSWER]}]
    with pytest.raises(DatasetError, match="a.jsonl:2: looks like openai, while what is before, .*, looks like llamaf"):
        _ = Dataset(write(tmp_path / "a.jsonl", rows)).detection
    read = Dataset(write(tmp_path / "b.jsonl", rows), format="llamafactory")
    assert len(list(read.records())) == 2


def test_pictures_in_some_rows_are_read_among_conversations_without(tmp_path: Path) -> None:
    """LLaVA mixes both in one file."""
    rows = [{"conversations": TURNS}, {"conversations": TURNS, "image": "a.jpg"}]
    assert Dataset(write(tmp_path / "a.jsonl", rows)).detection.format == "llamafactory"


@pytest.mark.parametrize("row", [{"text": "a", "label": 3}, {"text": "a", "output": "b"}, {"prompt": "a"}])
def test_half_a_record_is_no_format(tmp_path: Path, row: dict[str, Any]) -> None:
    """A text with a label is to be classified, not learnt by heart: which column is the answer is the user's to say."""
    with pytest.raises(DatasetError, match="no known format has such a record"):
        _ = Dataset(write(tmp_path / "a.jsonl", [row])).detection


@pytest.mark.parametrize(
    ("format", "row", "named"),
    [
        ("together", chat("a", "b"), "openai"),
        ("trl", chat("a", "b"), "openai"),
        ("trl", {"prompt": "a", "completion": "b"}, "prompt-completion"),
        ("llamafactory", {"conversations": TURNS}, "sharegpt"),
        ("text", {"text": CHATML}, "ChatML"),
    ],
)
def test_an_ambiguity_is_named(format: str, row: dict[str, Any], named: str) -> None:
    score, reason = load_dataset_format(format).likeness(row)
    assert 0 < score < 0.9 and named in reason


@settings(max_examples=150, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(record=records)
def test_what_a_format_writes_is_found_as_it_or_read_the_same(record: Record) -> None:
    for name in FORMATS:
        row, lost = load_dataset_format(name).write_format_row(record)
        if row is None or lost:
            continue
        line = msgspec.json.encode(row)
        plain = msgspec.json.decode(line)
        scores = {other: load_dataset_format(other).likeness(plain)[0] for other in FORMATS}
        assert scores[name] > 0, name
        best = max(scores, key=lambda other: scores[other])
        assert best == name or is_equivalent_record(
            load_dataset_format(best).read_format_row(line), load_dataset_format(name).read_format_row(line)
        ), (name, best)
