"""Each format by example: what it reads, what it writes, and what it says it cannot hold."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from tests.support.rows import chat
from tuneport.data.formats import load_dataset_format
from tuneport.data.formats.contract import InvalidRecord, Unrepresentable
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

SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
CALLS = Chat(
    [
        Message("system", "Use tools."),
        Message("user", "Oslo?"),
        Message("assistant", "Let me look.", tool_calls=[ToolCall("weather", '{"city":  "Oslo", "days": 1.0}')]),
        Message("tool", "4 degrees"),
        Message("assistant", "4 degrees."),
    ],
    tools=[Tool("weather", "The weather", SCHEMA)],
)


def read(format: str, row: Any) -> Record:
    return load_dataset_format(format).read_format_row(json.dumps(row).encode())


def write(format: str, record: Record) -> tuple[Any, list[Unrepresentable]]:
    row, lost = load_dataset_format(format).write_format_row(record)
    return None if row is None else json.loads(msgspec.json.encode(row)), lost


def problems(format: str, row: Any) -> list[str]:
    with pytest.raises(InvalidRecord) as caught:
        read(format, row)
    return [f"{problem.field}: {problem.rule}" for problem in caught.value.problems]


# --- openai ----------------------------------------------------------------------------------------------------------


def test_openai_holds_everything_of_a_chat() -> None:
    row = {
        "messages": [
            {"role": "developer", "content": "Be brief."},
            {
                "role": "user",
                "name": "ann",
                "content": [
                    {"type": "text", "text": "What is this?"},
                    {"type": "image_url", "image_url": {"url": "https://a.example/x.png", "detail": "low"}},
                    {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}},
                ],
            },
            {
                "role": "assistant",
                "reasoning_content": "hm",
                "weight": 0,
                "tool_calls": [
                    {"id": "call_x", "type": "function", "function": {"name": "look", "arguments": '{"a":1}'}}
                ],
            },
            {"role": "tool", "tool_call_id": "call_x", "content": "a cat"},
            {"role": "assistant", "content": "A cat.", "weight": 1, "audio_id": "a1"},
        ],
        "tools": [{"type": "function", "function": {"name": "look", "parameters": SCHEMA, "strict": True}}],
        "parallel_tool_calls": False,
        "source": {"file": "a.csv"},
    }
    record = read("openai", row)
    assert isinstance(record, Chat)
    assert record.messages[1].content == [
        TextPart("What is this?"),
        ImagePart(url="https://a.example/x.png", detail="low"),
        ImagePart(data="AAAA", media_type="image/png"),
    ]
    assert record.messages[2].tool_calls == [ToolCall("look", '{"a":1}', "call_x")]
    assert (record.messages[2].reasoning, record.messages[2].weight) == ("hm", 0.0)
    assert record.messages[4].extra == {"audio_id": "a1"}
    assert record.metadata == {"source": {"file": "a.csv"}}
    assert write("openai", record) == (row, [])


def test_openai_reads_deprecated_functions_in_the_new_spelling() -> None:
    row = {
        "messages": [
            {"role": "user", "content": "Oslo?"},
            {"role": "assistant", "content": None, "function_call": {"name": "weather", "arguments": "{}"}},
            {"role": "function", "name": "weather", "content": "4"},
            {"role": "assistant", "content": "4."},
        ],
        "functions": [{"name": "weather", "description": "d", "parameters": SCHEMA}],
    }
    record = read("openai", row)
    assert isinstance(record, Chat) and record.tools == [Tool("weather", "d", SCHEMA)]
    written, lost = write("openai", record)
    assert not lost
    assert written["messages"][1]["tool_calls"][0]["id"] == written["messages"][2]["tool_call_id"] == "call_1"
    assert read("openai", written) == record
    assert "deprecated" in load_dataset_format("openai").note_row_spelling(json.dumps(row).encode())


def test_nulls_are_absent_keys() -> None:
    row = chat("a", "b", tools=None, id=None)
    row["messages"][1] |= {"tool_calls": None, "refusal": None, "name": None}
    assert read("openai", row) == read("openai", chat("a", "b"))


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ("hello", "messages[1]: a message must be an object, not text"),
        ({"content": "x"}, "messages[1].role: is missing"),
        ({"role": "gpt", "content": "x"}, "messages[1].role: 'gpt' is not a role"),
        ({"role": "user"}, "messages[1].content: is missing"),
        ({"role": "user", "content": {"a": 1}}, "messages[1].content: must be text or a list of parts, not an object"),
        ({"role": "assistant"}, "messages[1].content: an assistant message has neither content nor tool calls"),
        ({"role": "user", "content": "x", "weight": 1}, "messages[1].weight: only assistant messages have a weight"),
        ({"role": "assistant", "content": "x", "weight": 0.5}, "messages[1].weight: must be 0 or 1, not 0.5"),
        (
            {"role": "user", "content": [{"type": "file"}]},
            "messages[1].content[0]: a part of the type 'file' is not supported",
        ),
        (
            {"role": "assistant", "tool_calls": [{"id": "a", "function": {"name": "f", "arguments": {"x": 1}}}]},
            "messages[1].tool_calls[0].function.arguments: must be JSON as text, not an object",
        ),
        (
            {"role": "tool", "content": "x", "tool_call_id": "nope"},
            "messages[1].tool_call_id: 'nope' is not the id of an earlier tool call",
        ),
        ({"role": "tool", "content": "x"}, "messages[1].tool_call_id: is missing"),
    ],
)
def test_openai_problems_are_located(message: Any, expected: str) -> None:
    messages = [{"role": "user", "content": "a"}, message, {"role": "assistant", "content": "b"}]
    assert problems("openai", {"messages": messages}) == [expected]


def test_openai_refuses_rows_without_an_answer() -> None:
    assert problems("openai", {"messages": [{"role": "user", "content": "a"}]}) == [
        "messages: there is no assistant message, so nothing to train on"
    ]
    assert problems("openai", {"messages": []}) == ["messages: is empty"]
    assert problems("openai", {"messages": "a"}) == ["messages: must be a list, not text"]
    assert problems("openai", {"system": "s", **chat("a", "b")}) == ["system: is not a key of this format"]


# --- openai-preference -----------------------------------------------------------------------------------------------


def test_openai_preference() -> None:
    row = {
        "input": {
            "messages": [{"role": "user", "content": "Hi"}],
            "tools": [{"type": "function", "function": {"name": "f"}}],
            "parallel_tool_calls": True,
        },
        "preferred_output": [{"role": "assistant", "content": "Hello"}],
        "non_preferred_output": [
            {
                "role": "assistant",
                "tool_calls": [{"id": "call_1", "type": "function", "function": {"name": "f", "arguments": "{}"}}],
            }
        ],
    }
    record = read("openai-preference", row)
    assert isinstance(record, Preference) and record.rejected[0].tool_calls == [ToolCall("f", "{}")]
    assert write("openai-preference", record) == (row, [])
    assert write("openai-preference", Chat([])) == (None, [Unrepresentable("", "there is no rejected answer")])


def test_openai_preference_wants_one_answer_each() -> None:
    row = {
        "input": {"messages": [{"role": "user", "content": "Hi"}]},
        "preferred_output": [{"role": "user", "content": "Hello"}],
        "non_preferred_output": [],
    }
    assert problems("openai-preference", row)[0] == "preferred_output: must be exactly one assistant message"
    assert problems("openai-preference", {"input": 3, "preferred_output": [], "non_preferred_output": []})[0] == (
        "input: must be an object, not a number"
    )


# --- anthropic -------------------------------------------------------------------------------------------------------


def test_anthropic_blocks() -> None:
    row = {
        "system": [{"type": "text", "text": "Be kind.", "cache_control": {"type": "ephemeral"}}],
        "messages": [
            {
                "role": "user",
                "content": [
                    {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AAAA"}},
                    {"type": "text", "text": "And?"},
                ],
            },
            {
                "role": "assistant",
                "content": [
                    {"type": "thinking", "thinking": "hm", "signature": "sig"},
                    {"type": "text", "text": "Two calls."},
                    {"type": "tool_use", "id": "a", "name": "f", "input": {"x": 1.0}},
                    {"type": "tool_use", "id": "b", "name": "g", "input": {}},
                ],
            },
            {
                "role": "user",
                "content": [
                    {"type": "tool_result", "tool_use_id": "a", "content": "one", "is_error": True},
                    {"type": "tool_result", "tool_use_id": "b", "content": [{"type": "text", "text": "two"}]},
                    {"type": "text", "text": "Go on."},
                ],
            },
            {"role": "assistant", "content": "Done."},
        ],
        "tools": [{"name": "f", "description": "d", "input_schema": SCHEMA}, {"name": "g", "input_schema": SCHEMA}],
    }
    record = read("anthropic", row)
    assert isinstance(record, Chat)
    assert [message.role for message in record.messages] == [
        "system",
        "user",
        "assistant",
        "tool",
        "tool",
        "user",
        "assistant",
    ]
    answer = record.messages[2]
    assert (answer.content, answer.reasoning, len(answer.tool_calls)) == ("Two calls.", "hm", 2)
    assert record.messages[3].extra == {"is_error": True}
    assert write("anthropic", record) == (row, [])


def test_anthropic_blocks_in_any_order_come_back_in_that_order() -> None:
    content = [
        {"type": "thinking", "thinking": "1"},
        {"type": "text", "text": "2"},
        {"type": "thinking", "thinking": "3"},
        {"type": "tool_use", "id": "a", "name": "f", "input": {}},
        {"type": "text", "text": "4"},
    ]
    row = {"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": content}]}
    assert write("anthropic", read("anthropic", row)) == (row, [])


def test_anthropic_keeps_the_spelling_of_arguments() -> None:
    row, lost = load_dataset_format("anthropic").write_format_row(CALLS)
    line = msgspec.json.encode(row)
    assert not lost and b'"input":{"city":  "Oslo", "days": 1.0}' in line
    assert load_dataset_format("anthropic").read_format_row(line) == CALLS


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ({"role": "system", "content": "x"}, "messages[1].role: 'system' is no role of this format"),
        ({"role": "user", "content": []}, "messages[1].content: must be text or a list of blocks, not empty"),
        (
            {"role": "user", "content": [{"type": "tool_use"}]},
            "messages[1].content[0]: a block of the type 'tool_use' is not supported here",
        ),
        (
            {"role": "assistant", "content": [{"type": "tool_use", "name": "f", "input": "x"}]},
            "messages[1].content[0].input: must be an object, not text",
        ),
    ],
)
def test_anthropic_problems_are_located(message: Any, expected: str) -> None:
    row = {
        "system": "s",
        "messages": [{"role": "user", "content": "a"}, message, {"role": "assistant", "content": "b"}],
    }
    assert problems("anthropic", row) == [expected]


def test_anthropic_says_what_it_loses() -> None:
    record = Chat(
        [
            Message("user", "a"),
            Message("user", "b"),
            Message("system", "c"),
            Message("assistant", "d", weight=0.0, name="bot"),
        ],
        parallel_tool_calls=False,
    )
    row, lost = write("anthropic", record)
    assert [turn["role"] for turn in row["messages"]] == ["user", "assistant"]
    assert {loss.field for loss in lost} == {
        "messages[].role",
        "messages[].weight",
        "messages[].name",
        "parallel_tool_calls",
    }
    _, lost = write("anthropic", Chat([Message("user", "a"), Message("user", "b"), Message("assistant", "c")]))
    assert lost == [Unrepresentable("messages[]", "turns must alternate; consecutive messages of a role are joined")]


# --- alpaca and prompt-completion ------------------------------------------------------------------------------------


def test_alpaca() -> None:
    row = {
        "instruction": "Add.",
        "input": "1 2",
        "output": "3",
        "system": "Be exact.",
        "history": [["Hi", "Hello"]],
        "id": 7,
    }
    record = read("alpaca", row)
    assert isinstance(record, Chat)
    assert [message.content for message in record.messages] == ["Be exact.", "Hi", "Hello", "Add.\n1 2", "3"]
    assert (
        load_dataset_format("alpaca").note_row_spelling(json.dumps(row).encode())
        == "instruction and input are joined by a newline"
    )
    assert write("alpaca", record) == ({**row, "instruction": "Add.\n1 2", "input": ""}, [])


def test_alpaca_preference() -> None:
    row = {"instruction": "Hi", "input": "", "chosen": "Hello", "rejected": "What"}
    record = read("alpaca", row)
    assert record == Preference(
        [Message("user", "Hi")], [Message("assistant", "Hello")], [Message("assistant", "What")]
    )
    assert write("alpaca", record) == (row, [])


def test_alpaca_problems_are_located() -> None:
    row = {"instruction": 5, "output": None, "history": [["a"], ["b", "c"]]}
    assert problems("alpaca", row) == [
        "instruction: must be text, not a number",
        "history[0]: must be a question and its answer, not a list",
        "output: is missing",
    ]


def test_prompt_completion() -> None:
    row = {"prompt": "a", "completion": "b", "id": 1}
    record = read("prompt-completion", row)
    assert record == PromptCompletion("a", "b", metadata={"id": 1})
    assert write("prompt-completion", record) == (row, [])
    assert write("openai", record) == (chat("a", "b", id=1), [])
    assert write("prompt-completion", read("openai", chat("a", "b"))) == ({"prompt": "a", "completion": "b"}, [])


def test_prompt_completion_says_what_it_folds() -> None:
    row, lost = write("prompt-completion", read("openai", chat("a", "b", "c", "d", system="s")))
    assert row == {"prompt": "s\n\nUser: a\nAssistant: b\n\nUser: c", "completion": "d"}
    reason = "there is one prompt; the system prompt and earlier turns are written into it"
    assert lost == [Unrepresentable("messages[]", reason)]


# --- sharegpt --------------------------------------------------------------------------------------------------------


def test_sharegpt_calls() -> None:
    row = {
        "conversations": [
            {"from": "system", "value": "Use tools."},
            {"from": "human", "value": "Oslo?"},
            {"from": "gpt", "value": "Let me look."},
            {"from": "function_call", "value": '{"name": "weather", "arguments": {"city":  "Oslo", "days": 1.0}}'},
            {"from": "observation", "value": "4 degrees"},
            {"from": "gpt", "value": "4 degrees."},
        ],
        "tools": json.dumps([{"name": "weather", "description": "The weather", "parameters": SCHEMA}]),
    }
    assert read("sharegpt", row) == CALLS
    assert write("sharegpt", CALLS) == (row, [])


def test_sharegpt_spellings() -> None:
    row = {
        "system": "Be kind.",
        "conversations": [
            {"role": "user", "content": "a"},
            {"role": "function_call", "content": '[{"name": "f", "arguments": "{}"}, {"name": "g", "arguments": {}}]'},
            {"role": "tool", "content": "1"},
            {"role": "assistant", "content": "b", "weight": 0},
        ],
        "tools": [{"type": "function", "function": {"name": "f"}}],
    }
    record = read("sharegpt", row)
    assert isinstance(record, Chat)
    assert [message.role for message in record.messages] == ["system", "user", "assistant", "tool", "assistant"]
    assert record.messages[2].tool_calls == [ToolCall("f", "{}"), ToolCall("g", "{}")]
    assert record.messages[4].weight == 0 and record.tools == [Tool("f")]


def test_sharegpt_preference_and_label() -> None:
    row = {
        "conversations": [{"from": "human", "value": "Hi"}],
        "chosen": {"from": "gpt", "value": "Hello"},
        "rejected": {"from": "gpt", "value": "What"},
    }
    record = read("sharegpt", row)
    assert isinstance(record, Preference) and write("sharegpt", record) == (row, [])
    marked = {
        "conversations": [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "What"}],
        "label": False,
    }
    labelled = read("sharegpt", marked)
    assert isinstance(labelled, Labelled) and write("sharegpt", labelled) == (marked, [])
    assert write("openai", labelled)[0] is None  # training towards a bad answer is no conversion


@pytest.mark.parametrize(
    ("turn", "expected"),
    [
        ({"from": "alien", "value": "x"}, "conversations[1].from: 'alien' is not a speaker"),
        ({"value": "x"}, "conversations[1].role: is missing"),
        ({"from": "gpt", "value": None}, "conversations[1].value: is missing"),
        (
            {"from": "function_call", "value": '{"name": "f"}'},
            "conversations[1].value: a function call needs a name and arguments",
        ),
    ],
)
def test_sharegpt_problems_are_located(turn: Any, expected: str) -> None:
    turns = [{"from": "human", "value": "a"}, turn, {"from": "gpt", "value": "b"}]
    assert problems("sharegpt", {"conversations": turns})[0] == expected


def test_sharegpt_says_what_it_loses() -> None:
    record = Chat(
        [
            Message("user", [TextPart("a"), ImagePart(url="https://a.example/x.png")]),
            Message("assistant", "b", reasoning="hm", tool_calls=[ToolCall("f", "{}", "id1")]),
            Message("tool", "c", name="f", tool_call_id="id1"),
            Message("assistant", "d"),
        ]
    )
    _, lost = write("sharegpt", record)
    assert {loss.field for loss in lost} == {
        "messages[].content",
        "messages[].content[].image",
        "messages[].reasoning",
        "messages[].tool_calls[].id",
        "messages[].tool_call_id",
        "messages[].name",
    }


# --- all -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("format", ["openai", "anthropic", "sharegpt", "alpaca", "prompt-completion"])
def test_a_pair_in_a_format_for_chats_loses_the_rejected_answer(format: str) -> None:
    record = Preference(
        [Message("user", "a")], [Message("assistant", "b"), Message("assistant", "c")], [Message("assistant", "d")]
    )
    _, lost = write(format, record)
    assert format == "sharegpt" or any(loss.field == "rejected" for loss in lost)


@pytest.mark.parametrize("format", ["openai", "anthropic", "sharegpt", "alpaca", "prompt-completion"])
def test_plain_text_has_no_form(format: str) -> None:
    assert write(format, PlainText("a")) == (None, [Unrepresentable("", "plain text has no turns")])


def test_a_metadata_key_that_means_something_else_is_a_loss() -> None:
    row, lost = write("openai", Chat([Message("user", "a"), Message("assistant", "b")], metadata={"tools": "hammer"}))
    assert "tools" not in row
    assert lost == [Unrepresentable("tools", "the format uses this key for something else")]
