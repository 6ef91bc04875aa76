"""Where nothing is reported lost, nothing is lost: over every format, and over every pair of formats."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from tuneport.data.conversion.conversion_loss import is_plain_chat_record
from tuneport.data.formats import FORMATS, load_dataset_format
from tuneport.data.formats.contract import NO_PARAMETERS, is_equivalent_record
from tuneport.data.rows.records import (
    Chat,
    ImagePart,
    Labelled,
    Message,
    PlainText,
    Preference,
    PromptCompletion,
    Record,
    TextPart,
    Tool,
    ToolCall,
)

quick = settings(max_examples=120, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))

CONVERSATIONAL = ["openai", "anthropic", "sharegpt", "chatml", "together", "trl", "llamafactory", "gemini"]
PAIRED = ["openai-preference", "sharegpt", "alpaca", "together", "trl", "llamafactory", "gemini"]

words = st.text(alphabet=st.characters(exclude_categories=("Cs",)), max_size=12)
texts = st.one_of(st.sampled_from(["", "a", "é\n", '{"a": 1}', "<think>x</think>", "\u2028"]), words)
names = st.sampled_from(["f", "get_weather", "g-2"])
arguments = st.sampled_from(["{}", '{"a":  1.0}', '{"b":"ü", "c":[1,\n2]}', "", "[1]", "oops", ' {"a":1}', '"x"'])
extras = st.dictionaries(
    st.sampled_from(["id", "source", "is_error", "messages", "value"]), st.integers(0, 3), max_size=1
)
rarely: dict[str, Any] = {"max_size": 1}


def maybe(strategy: st.SearchStrategy) -> st.SearchStrategy:
    return st.one_of(st.none(), st.none(), strategy)


parts = st.lists(
    st.one_of(
        st.builds(TextPart, words, st.just({}) | extras),
        st.builds(ImagePart, url=st.just("https://a.example/x.png"), detail=maybe(st.just("low"))),
        st.builds(ImagePart, data=st.just("AAAA"), media_type=st.just("image/png")),
    ),
    min_size=1,
    max_size=3,
)
tools = st.lists(
    st.builds(
        Tool,
        names,
        maybe(words),
        maybe(st.sampled_from([{"type": "object"}, {"type": "object", "properties": {"a": {"type": "string"}}}])),
        maybe(st.booleans()),
    ),
    max_size=2,
)


@st.composite
def conversations(draw: st.DrawFn, *, plain: bool, ends_with: str = "assistant") -> list[Message]:
    """Some system prompts, then turns; with ids everywhere or nowhere, so that results find their calls."""
    messages = draw(st.lists(st.builds(Message, st.sampled_from(["system", "developer"]), texts), max_size=1))
    ids, number = draw(st.booleans()), 0
    for _ in range(draw(st.integers(1, 3))):
        content = texts if plain else st.one_of(texts, parts)
        messages.append(Message("user", draw(content), name=None if plain else draw(maybe(names))))
        if not plain and draw(st.booleans()):
            calls = []
            for _ in range(draw(st.integers(1, 2))):
                number += 1
                calls.append(ToolCall(draw(names), draw(arguments), f"{draw(names)}{number}" if ids else None))
            messages.append(Message("assistant", draw(st.none() | texts), tool_calls=calls))
            messages += [Message("tool", draw(texts), tool_call_id=call.id) for call in calls]
        answer = Message("assistant", draw(content))
        if not plain:
            answer.reasoning, answer.weight = draw(maybe(words)), draw(maybe(st.sampled_from([0.0, 1.0])))
            answer.extra = draw(st.just({}) | extras)
        messages.append(answer)
        if not plain and draw(st.integers(0, 4)) == 0:
            messages.append(Message(draw(st.sampled_from(["assistant", "user", "system"])), draw(texts)))
    while ends_with == "user" and messages and messages[-1].role != "user":
        messages.pop()
    return messages


def weighted(chat: Chat) -> Chat:
    """Only the last answer is trained on: what prompt and completion say."""
    for message in chat.messages:
        message.weight = 0.0 if message.role == "assistant" else None
    chat.messages[-1].weight = 1.0 if chat.messages[-1].role == "assistant" else None
    return chat


calls = st.lists(st.builds(ToolCall, names, arguments), max_size=2)


def chats(*, plain: bool) -> st.SearchStrategy[Chat]:
    if plain:
        return st.builds(Chat, conversations(plain=True))
    return st.builds(
        Chat,
        conversations(plain=False),
        tools=tools,
        parallel_tool_calls=maybe(st.booleans()),
        weight=maybe(st.sampled_from([0.0, 0.5, 2.0])),
        metadata=st.just({}) | extras,
    )


def common(strategy: st.SearchStrategy) -> dict[str, st.SearchStrategy]:
    return {"tools": strategy, "weight": maybe(st.just(0.5)), "metadata": st.just({}) | extras}


answers = st.one_of(
    st.lists(st.builds(Message, st.just("assistant"), texts), min_size=1, max_size=2),
    st.builds(Message, st.just("assistant"), texts | st.none(), reasoning=maybe(words), tool_calls=calls).map(
        lambda message: [message]
    ),
)
contexts = st.one_of(conversations(plain=True, ends_with="user"), conversations(plain=False, ends_with="user"))
pairs = st.builds(Preference, contexts.filter(bool), answers, answers, **common(tools))
records = st.one_of(
    chats(plain=False),
    chats(plain=False).map(weighted),
    chats(plain=True),
    pairs,
    st.builds(Labelled, conversations(plain=True), st.booleans(), **common(tools)),
    st.builds(Labelled, conversations(plain=False), st.booleans()),
    st.builds(PromptCompletion, texts, texts, **common(st.just([]))),
    st.builds(PlainText, texts, **common(st.just([]))),
)


def through(format: str, record: Record) -> tuple[Record | None, bool]:
    """The record after it was written and read, and whether the format says that nothing was lost."""
    row, lost = load_dataset_format(format).write_format_row(record)
    if row is None:
        assert lost
        return None, False
    line = msgspec.json.encode(row)
    assert b"\n" not in line
    json.loads(line)
    return (load_dataset_format(format).read_format_row(line), True) if not lost else (None, False)


@pytest.mark.parametrize("format", FORMATS)
@quick
@given(record=records)
def test_what_is_not_reported_lost_comes_back(format: str, record: Record) -> None:
    before = msgspec.json.encode(record)
    back, whole = through(format, record)
    assert msgspec.json.encode(record) == before  # writing does not change its input
    if whole:
        assert back is not None and is_equivalent_record(back, record)


@pytest.mark.parametrize("first", FORMATS)
@settings(quick, max_examples=60)
@given(record=records)
def test_a_to_b_to_a_is_the_identity(first: str, record: Record) -> None:
    """For every ordered pair: the row that comes back is the row, byte for byte.

    Where a format has both, a prompt with its completion may come back as the question and answer that it is.
    Tools of Anthropic must have a schema: one that says nothing comes back as none.
    """
    native, whole = through(first, record)
    if not whole or native is None:
        return
    row, _ = load_dataset_format(first).write_format_row(native)
    for second in FORMATS:
        other, whole = through(second, native)
        if whole and other is not None:
            again, lost = load_dataset_format(first).write_format_row(other)
            assert not lost, second
            line = msgspec.json.encode(again)
            if line != msgspec.json.encode(row):
                back = load_dataset_format(first).read_format_row(line)
                assert is_equivalent_record(back, native), second
                assert PromptCompletion in (type(native), type(back)) or says_nothing_of_a_tool(native), second


def says_nothing_of_a_tool(record: Record) -> bool:
    return any(tool.parameters == NO_PARAMETERS for tool in getattr(record, "tools", ()))


@pytest.mark.parametrize("format", CONVERSATIONAL + ["alpaca"])
@quick
@given(
    pairs=st.lists(st.tuples(words.filter(bool), words), min_size=1, max_size=3),
    system=st.none() | words.filter(bool),
)
def test_plain_chats_lose_nothing(format: str, pairs: list[tuple[str, str]], system: str | None) -> None:
    """So the tests above are not true for want of lossless cases; and `is_plain_chat_record` rows need no second
    look."""
    assume(format != "chatml" or "<" not in str((pairs, system)))  # its own marks are a loss, as tested above
    messages = [] if system is None else [Message("system", system)]
    for question, answer in pairs:
        messages += [Message("user", question), Message("assistant", answer)]
    record = Chat(messages)
    assert is_plain_chat_record(record)
    assert through(format, record) == (record, True)


@pytest.mark.parametrize("format", [name for name in CONVERSATIONAL if name != "chatml"])
@quick
@given(calls=st.lists(st.tuples(names, st.sampled_from(["{}", '{"a":  1.0}'])), min_size=1, max_size=3), tools=tools)
def test_tool_calls_without_ids_lose_nothing(format: str, calls: list[tuple[str, str]], tools: list[Tool]) -> None:
    tools = [tool for tool in tools if tool.parameters != {"type": "object"}]
    if format == "gemini":
        tools = [msgspec.structs.replace(tool, strict=None) for tool in tools]
    made = [ToolCall(name, text) for name, text in calls]
    results = [Message("tool", f"result {index}") for index in range(len(made))]
    messages = [Message("user", "a"), Message("assistant", None, tool_calls=made), *results, Message("assistant", "b")]
    record = Chat(messages, tools=tools)
    assert through(format, record) == (record, True)


@pytest.mark.parametrize("format", PAIRED)
def test_pairs_lose_nothing(format: str) -> None:
    record = Preference(
        [Message("system", "s"), Message("user", "a")], [Message("assistant", "b")], [Message("assistant", "c")]
    )
    assert through(format, record) == (record, True)
