"""Token counts against a published bill, and what is only an estimate."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.rows import chat, write
from tuneport.data.rows.records import Chat, ImagePart, Message, Preference, Record, TextPart, Tool, ToolCall
from tuneport.data.tokens.tokens import (
    LARGEST_IMAGE,
    LOW_DETAIL_IMAGE,
    TokenCounter,
    TokenCounts,
    count_dataset_tokens,
    token_count_approximation,
    tool_definitions_as_text,
)
from tuneport.errors import ConfigError
from tuneport.openai_encodings import load_openai_encoding


def counted(*records: Record) -> TokenCounts:
    counter = TokenCounter()
    for line, record in enumerate(records, 1):
        counter.add(line, record)
    return counter.counts()


def test_the_published_bill_is_met_exactly(shared_data: Path) -> None:
    """7 epochs of this file on gpt-3.5-turbo-1106 were billed as 4,445 tokens."""
    counts = count_dataset_tokens(shared_data / "gpt_tokens_fine-tuning-data.jsonl", "cl100k_base")
    assert (counts.rows, counts.total, counts.approximate) == (13, 635, False)
    assert counts.total * 7 == 4445


def test_the_cut_at_the_context_is_counted(shared_data: Path) -> None:
    """The cookbook prints about 4,306 for this file, by a rule that adds 2 to each of its 5 examples; 8,242 uncut."""
    path = shared_data / "toy_chat_fine_tuning.jsonl"
    cut = count_dataset_tokens(path, "cl100k_base", context=4096)
    assert (cut.total, cut.over_context, cut.longest_line) == (4306 - 8, 1, 5)
    assert count_dataset_tokens(path, "cl100k_base").total == 8242 - 10


def test_the_rule_by_hand() -> None:
    words = load_openai_encoding("o200k_base")
    record = Chat([Message("user", "Where is my parcel?"), Message("assistant", "On its way.")])
    expected = 1 + (3 + 1 + len(words.encode("Where is my parcel?"))) + (3 + 1 + len(words.encode("On its way.")))
    counts = counted(record)
    assert (counts.low, counts.total, counts.high) == (expected, expected, expected)
    assert token_count_approximation(record) is None


def test_text_that_looks_like_a_special_token_is_text(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", [chat("<|endoftext|>", "b")])
    assert count_dataset_tokens(path).total > count_dataset_tokens(write(tmp_path / "b.jsonl", [chat("x", "b")])).total


def test_estimates_say_why() -> None:
    tools = [Tool("f", "Does f", {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]})]
    plain = Chat([Message("user", "a"), Message("assistant", "b")])
    called = Chat([Message("user", "a"), Message("assistant", None, tool_calls=[ToolCall("f", "{}")])])
    pair = Preference([Message("user", "a")], [Message("assistant", "b")], [Message("assistant", "c")])
    assert "tool definitions" in str(token_count_approximation(Chat(plain.messages, tools=tools)))
    assert "tool call" in str(token_count_approximation(called))
    assert "both answers" in str(token_count_approximation(pair))
    assert counted(pair).total == 2 * counted(plain).total
    assert counted(Chat(plain.messages, tools=tools)).total > counted(plain).total + 10
    assert "// Does f\ntype f = (_: {\na: number,\n}) => any;" in tool_definitions_as_text(tools)


def test_an_estimate_has_bounds_and_only_its_own_records_widen_them() -> None:
    plain = Chat([Message("user", "a"), Message("assistant", "b")])
    pair = Preference([Message("user", "a")], [Message("assistant", "b")], [Message("assistant", "c")])
    called = Chat([Message("user", "a"), Message("assistant", None, tool_calls=[ToolCall("f", "{}")])])
    image = Chat([Message("user", [TextPart("a"), ImagePart(url="https://a/b.png")]), Message("assistant", "b")])
    both = counted(pair)
    assert (both.low, both.high) == (both.total // 2, both.total)  # one answer billed, or both
    mixed = counted(*[plain] * 9, called)
    assert mixed.low == mixed.total - round(counted(called).total * 0.1)
    assert mixed.high == mixed.total + round(counted(called).total * 0.2)
    seen = counted(image)
    assert (seen.low, seen.high - seen.total) == (seen.total, LARGEST_IMAGE - LOW_DETAIL_IMAGE)
    assert all(counts.approximate for counts in (both, mixed, seen)) and not counted(plain).approximate


def test_the_bounds_of_a_cut_example_are_those_of_what_is_left() -> None:
    tools = [Tool("f", "Does f", {"type": "object", "properties": {}})]
    counter = TokenCounter(context=100)
    counter.add(1, Chat([Message("user", "word " * 30_000), Message("assistant", "b")], tools=tools))
    counts = counter.counts()
    assert (counts.low, counts.total, counts.high) == (90, 100, 120)


def test_longest_line_and_batches(tmp_path: Path) -> None:
    rows = [chat("a", "b")] * 1500
    rows[1200] = chat("a", "word " * 50)
    counts = count_dataset_tokens(write(tmp_path / "a.jsonl", rows))
    assert (counts.rows, counts.longest_line) == (1500, 1201)
    short = counted(Chat([Message("user", "a"), Message("assistant", "b")]))
    assert counts.total == 1499 * short.total + counts.longest


def test_unknown_encoding() -> None:
    with pytest.raises(
        ConfigError, match="the encoding 'p50k_base' is not known; known encodings: o200k_base, cl100k_b"
    ):
        load_openai_encoding("p50k_base")


def test_neither_litellm_nor_the_environment_is_touched() -> None:
    code = (
        "import os, sys; from tuneport.openai_encodings import load_openai_encoding; before = dict(os.environ);"
        "load_openai_encoding('o200k_base');"
        "assert dict(os.environ) == before; assert 'litellm' not in sys.modules and 'torch' not in sys.modules"
    )
    environment = {key: value for key, value in os.environ.items() if key != "TIKTOKEN_CACHE_DIR"}
    subprocess.run([sys.executable, "-c", code], check=True, env=environment)
