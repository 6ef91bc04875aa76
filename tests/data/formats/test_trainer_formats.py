"""The formats of trainers, by example: text, chatml, together, trl, llamafactory, gemini."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from tests.data.formats.test_formats import CALLS, SCHEMA, problems, read, write
from tests.support.rows import chat
from tuneport.data.formats import load_dataset_format
from tuneport.data.formats.contract import Unrepresentable
from tuneport.data.rows.records import (
    Chat,
    ImagePart,
    Labelled,
    Message,
    PlainText,
    Preference,
    PromptCompletion,
    TextPart,
    Tool,
    ToolCall,
)

PAIR = Preference([Message("user", "Hi")], [Message("assistant", "Hello")], [Message("assistant", "What")])
PNG = "data:image/png;base64,AAAA"

# --- text ------------------------------------------------------------------------------------------------------------


def test_text() -> None:
    row = {"text": "Once upon a time", "source": "a.txt"}
    assert read("text", row) == PlainText("Once upon a time", metadata={"source": "a.txt"})
    assert write("text", read("text", row)) == (row, [])
    assert problems("text", {"text": 3}) == ["text: must be text, not a number"]
    assert write("text", CALLS)[0] is None


@pytest.mark.parametrize("format", ["text", "together", "trl"])
def test_plain_text_is_held(format: str) -> None:
    assert write(format, PlainText("a")) == ({"text": "a"}, [])
    assert read(format, {"text": "a"}) == PlainText("a")


# --- chatml ----------------------------------------------------------------------------------------------------------

CHATML = (
    "<|im_start|>system\nUse tools.<|im_end|>\n<|im_start|>user name=ann\nOslo?<|im_end|>\n"
    "<|im_start|>assistant\n<think>\nhm\n</think>\n\nLet me look.\n"
    '<tool_call>\n{"name": "f", "arguments": {"x":  1.0}}\n</tool_call>\n'
    '<tool_call>\n{"name": "g", "arguments": {}}\n</tool_call><|im_end|>\n'
    "<|im_start|>tool\n4<|im_end|>\n<|im_start|>tool\n5<|im_end|>\n<|im_start|>assistant\n<done>\n<|im_end|>\n"
)


def test_chatml() -> None:
    record = read("chatml", {"text": CHATML, "id": 1})
    assert record == Chat(
        [
            Message("system", "Use tools."),
            Message("user", "Oslo?", "ann"),
            Message(
                "assistant",
                "Let me look.",
                tool_calls=[ToolCall("f", '{"x":  1.0}'), ToolCall("g", "{}")],
                reasoning="hm",
            ),
            Message("tool", "4"),
            Message("tool", "5"),
            Message("assistant", "<done>\n"),
        ],
        metadata={"id": 1},
    )
    assert write("chatml", record) == ({"text": CHATML, "id": 1}, [])


def test_chatml_without_breaks_between_turns() -> None:
    assert read("chatml", {"text": CHATML.replace("<|im_end|>\n", "<|im_end|>")}) == read("chatml", {"text": CHATML})


def test_chatml_keeps_what_is_no_call_as_text() -> None:
    text = "see <tool_call>\nnot JSON\n</tool_call>"
    row = {"text": f"<|im_start|>user\na<|im_end|>\n<|im_start|>assistant\n{text}<|im_end|>\n"}
    record = read("chatml", row)
    assert isinstance(record, Chat) and record.messages[1] == Message("assistant", text)
    assert write("chatml", record) == (row, [])


@pytest.mark.parametrize("text", ["a<|im_end|>b", "<|im_start|>", "<think>\nx\n</think>\n\ny"])
def test_chatml_cannot_hold_its_own_marks(text: str) -> None:
    _, lost = write("chatml", Chat([Message("user", "a"), Message("assistant", text)]))
    assert lost == [
        Unrepresentable("messages[].content", "the text contains what marks turns, thoughts or calls in ChatML")
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("hello", "text: stray text at character 0"),
        ("<|im_start|>user\na<|im_end|>\n<|im_start|>assistant\nb", "text: the turn at character 29 has no <|im_end|>"),
        ("<|im_start|>user\na<|im_start|>assistant\nb<|im_end|>", "text: the turn at character 0 has no <|im_end|>"),
        ("<|im_start|>alien\na<|im_end|>\n", "text: 'alien' at character 12 is not a role"),
        ("<|im_start|>user\na<|im_end|>", "text: there is no turn of the assistant, so nothing to train on"),
    ],
)
def test_chatml_problems_are_located(text: str, expected: str) -> None:
    assert problems("chatml", {"text": text})[0] == expected


# --- together --------------------------------------------------------------------------------------------------------


def test_together_reads_its_four_forms_with_weights() -> None:
    rows: list[dict[str, Any]] = [
        {**chat("a", "b", system="s"), "weight": 0.5},
        {"prompt": "a", "completion": "b", "weight": 2.0},
        {"text": "a", "weight": 0.0},
        {
            "input": {"messages": [{"role": "user", "content": "Hi"}]},
            "preferred_output": [{"role": "assistant", "content": "Hello"}],
            "non_preferred_output": [{"role": "assistant", "content": "What"}],
            "weight": 1.0,
        },
    ]
    read_rows = [read("together", row) for row in rows]
    assert [type(record) for record in read_rows] == [Chat, PromptCompletion, PlainText, Preference]
    assert [record.weight for record in read_rows] == [0.5, 2.0, 0.0, 1.0]
    assert [write("together", record) for record in read_rows] == [(row, []) for row in rows]
    assert problems("together", {**rows[0], "weight": -1}) == ["weight: must be a number from 0, not -1"]
    assert problems("together", {"a": 1}) == [": no form has such a record (its keys: a)"]


def test_together_holds_tools_weights_and_reasoning() -> None:
    assert read("together", write("together", CALLS)[0]) == CALLS
    answer = {"role": "assistant", "reasoning_content": "hm", "content": "b", "weight": 0}
    row = {"messages": [{"role": "user", "content": "a"}, answer]}
    assert write("together", read("together", row)) == (row, [])


def test_together_names_each_change_that_its_rules_need() -> None:
    record = Chat(
        [
            Message("developer", "s"),
            Message("user", "a"),
            Message("user", [ImagePart(url="https://a.example/x.png"), ImagePart(data="AAAA", media_type="image/png")]),
            Message("system", "c"),
            Message("assistant", [TextPart("d"), TextPart("e")], name="bot"),
            Message("assistant", "f", weight=0.0, extra={"id": 1}),
        ],
        parallel_tool_calls=True,
        metadata={"source": "x"},
    )
    row, lost = write("together", record)
    image = {"type": "image_url", "image_url": {"url": PNG}}
    texts = [{"type": "text", "text": "a"}, image, {"type": "text", "text": "c"}]
    assert row["messages"] == [
        {"role": "system", "content": "s"},
        {"role": "user", "content": texts},
        {"role": "assistant", "content": "d\ne\nf", "weight": 0},
    ]
    assert list(row) == ["messages"]
    assert {loss.field for loss in lost} == {
        "messages[].role",
        "messages[]",
        "messages[].content[].image",
        "messages[].content",
        "messages[].name",
        "messages[].id",
        "parallel_tool_calls",
        "source",
    }


# --- trl -------------------------------------------------------------------------------------------------------------


def test_trl_calls_are_objects_in_their_spelling() -> None:
    row, lost = load_dataset_format("trl").write_format_row(CALLS)
    line = msgspec.json.encode(row)
    assert not lost and b'"arguments":{"city":  "Oslo", "days": 1.0}' in line and b'"id"' not in line
    assert load_dataset_format("trl").read_format_row(line) == CALLS
    as_text = {**json.loads(line), "tools": json.dumps(json.loads(line)["tools"])}
    assert read("trl", as_text).tools == CALLS.tools  # trainers take both


def test_trl_prompt_and_completion_say_what_is_trained_on() -> None:
    prompt = [{"role": r, "content": c} for r, c in (("user", "a"), ("assistant", "b"), ("user", "c"))]
    row = {"prompt": prompt, "completion": [{"role": "assistant", "content": "d"}]}
    record = read("trl", row)
    assert isinstance(record, Chat)
    assert [message.weight for message in record.messages] == [None, 0.0, None, 1.0]
    assert write("trl", record) == (row, [])
    both = Chat([Message("user", "a"), Message("assistant", "b", weight=1.0), Message("user", "c")])
    both.messages.append(Message("assistant", "d", weight=0.0))
    assert {loss.field for loss in write("trl", both)[1]} == {"messages[].weight"}
    plain = {"prompt": "a", "completion": "b"}
    assert read("trl", plain) == PromptCompletion("a", "b") and write("trl", read("trl", plain)) == (plain, [])


def test_trl_pairs() -> None:
    turns = {key: [{"role": role, "content": text}] for key, role, text in (("prompt", "user", "Hi"),)}
    turns |= {
        "chosen": [{"role": "assistant", "content": "Hello"}],
        "rejected": [{"role": "assistant", "content": "What"}],
    }
    assert read("trl", turns) == PAIR and write("trl", PAIR) == (turns, [])
    implicit: dict[str, Any] = {key: turns["prompt"] + turns[key] for key in ("chosen", "rejected")}
    assert read("trl", implicit) == PAIR
    assert read("trl", {**implicit, "prompt": "Hi"}) == PAIR  # as in ultrafeedback_binarized
    assert problems("trl", {**implicit, "prompt": "Ho"}) == [
        "prompt: is in none of the messages that chosen and rejected begin with"
    ]
    assert read("trl", {"prompt": "Hi", "chosen": "Hello", "rejected": "What"}) == PAIR
    assert "begin with" in load_dataset_format("trl").note_row_spelling(json.dumps(implicit).encode())


def test_trl_labels() -> None:
    row = {
        "prompt": [{"role": "user", "content": "Hi"}],
        "completion": [{"role": "assistant", "content": "What"}],
        "label": False,
    }
    record = read("trl", row)
    assert record == Labelled([Message("user", "Hi"), Message("assistant", "What")], False)
    assert write("trl", record) == (row, [])
    assert read("trl", {"prompt": "Hi", "completion": "What", "label": False}) == record
    assert problems("trl", {**row, "label": 3}) == ["label: must be true or false"]


def test_trl_images() -> None:
    parts = [{"type": "image"}, {"type": "text", "text": "what?"}, {"type": "image", "image": PNG}]
    row = {
        "messages": [{"role": "user", "content": parts}, {"role": "assistant", "content": "a cat"}],
        "images": ["https://a.example/x.png"],
    }
    record = read("trl", row)
    assert isinstance(record, Chat)
    url, data = ImagePart(url="https://a.example/x.png"), ImagePart(data="AAAA", media_type="image/png")
    assert record.messages[0].content == [url, TextPart("what?"), data]
    written, lost = write("trl", record)
    assert not lost and read("trl", written) == record
    assert written["messages"][0]["content"][0] == {"type": "image", "image": "https://a.example/x.png"}
    plain = read("trl", {**chat("what?", "a cat"), "images": [PNG]})
    assert isinstance(plain, Chat) and plain.messages[0].content == [data, TextPart("what?")]
    assert problems("trl", {**row, "images": []}) == [
        "messages[0].content[0]: there is no image for this part, or none as text"
    ]
    assert problems("trl", {**row, "images": [PNG, PNG]}) == ["images: there are more images than places for them"]


def test_trl_columns_of_another_type_are_kept_or_named() -> None:
    record = read("trl", {**chat("a", "b"), "prompt": "a", "source": "x"})  # as in ultrachat_200k
    assert record.metadata == {"prompt": "a", "source": "x"}
    assert write("trl", record) == (
        {**chat("a", "b"), "source": "x"},
        [Unrepresentable("prompt", "the format uses this key for something else")],
    )


def test_trl_without_a_prompt_has_no_form() -> None:
    answer = [Message("assistant", "a")]
    assert write("trl", Preference([], answer, answer))[0] is None
    assert write("trl", Preference([Message("system", "s")], answer, answer))[0] is None
    assert problems("trl", {"prompt": "a"}) == ["completion: is missing"]


# --- llamafactory ----------------------------------------------------------------------------------------------------


def typed(role: str, *values: str, loss_weight: float = 0.0, **more: Any) -> dict[str, Any]:
    parts = [{"type": "text", "value": value} for value in values]
    return {"role": role, "content": parts, "loss_weight": loss_weight, **more}


def test_llamafactory_version_1() -> None:
    answer = typed("assistant", loss_weight=1.0)
    answer["content"] = [
        {"type": "reasoning", "value": "hm"},
        {"type": "text", "value": "Two."},
        {"type": "tool_call", "value": '{"name": "f", "arguments": {"x":  1}}'},
        {"type": "tool_call", "value": '{"name": "g", "arguments": {}}'},
    ]
    question = typed("user")
    question["content"] = [{"type": "text", "value": "a"}, {"type": "image_url", "value": PNG}]
    tools = json.dumps([{"name": "f", "parameters": SCHEMA}])
    last = typed("assistant", "b", loss_weight=0.0)
    row = {"messages": [question, answer, typed("tool", "1"), typed("tool", "2"), last], "tools": tools}
    record = read("llamafactory", row)
    assert record == Chat(
        [
            Message("user", [TextPart("a"), ImagePart(data="AAAA", media_type="image/png")]),
            Message(
                "assistant",
                "Two.",
                tool_calls=[ToolCall("f", '{"x":  1}'), ToolCall("g", "{}")],
                reasoning="hm",
                weight=1.0,
            ),
            Message("tool", "1"),
            Message("tool", "2"),
            Message("assistant", "b", weight=0.0),
        ],
        tools=[Tool("f", None, SCHEMA)],
    )
    assert write("llamafactory", record) == (row, [])


def test_llamafactory_weights_of_1_are_no_weights() -> None:
    row = {"messages": [typed("user", "a"), typed("assistant", "b", loss_weight=1.0)]}
    assert read("llamafactory", row) == read("openai", chat("a", "b"))
    assert write("llamafactory", read("openai", chat("a", "b"))) == (row, [])
    _, lost = write("llamafactory", Chat([Message("user", "a"), Message("assistant", "b", weight=1.0)]))
    assert lost == [Unrepresentable("messages[].weight", "a weight of 1 and an absent one are the same")]


def test_llamafactory_pairs() -> None:
    question, good, bad = typed("user", "Hi"), typed("assistant", "Hello"), typed("assistant", "What")
    good["loss_weight"] = bad["loss_weight"] = 1.0
    row = {"chosen_messages": [question, good], "rejected_messages": [question, bad]}
    assert read("llamafactory", row) == PAIR and write("llamafactory", PAIR) == (row, [])
    older = {
        "conversations": [{"from": "human", "value": "Hi"}],
        "chosen": {"from": "gpt", "value": "Hello"},
        "rejected": {"from": "gpt", "value": "What"},
    }
    assert read("llamafactory", older) == read("sharegpt", older) == PAIR
    same = Preference(PAIR.context, PAIR.chosen * 2, PAIR.chosen + PAIR.rejected)
    assert [loss.field for loss in write("llamafactory", same)[1]] == ["input"]


def test_llamafactory_older_forms() -> None:
    turns = [{"from": "human", "value": "<image>What is <image>?"}, {"from": "gpt", "value": "a cat"}]
    row = {"conversations": turns, "images": ["a.png", PNG]}
    record = read("llamafactory", row)
    assert isinstance(record, Chat)
    second = ImagePart(data="AAAA", media_type="image/png")
    assert record.messages[0].content == [ImagePart(url="a.png"), TextPart("What is "), second, TextPart("?")]
    assert write("openai", record)[1] == [
        Unrepresentable(
            "messages[].content[].image",
            "an image is inline or on the web; a path is left out (--inline-images reads it in)",
        )
    ]
    assert problems("llamafactory", {**row, "images": [PNG]})[0].startswith("images: 1 images for 2 places")
    alpaca = {"instruction": "Hi", "input": "", "output": "What", "kto_tag": False}
    marked = Labelled([Message("user", "Hi"), Message("assistant", "What")], False)
    assert read("llamafactory", alpaca) == marked
    written, lost = write("llamafactory", marked)
    assert not lost and written["kto_tag"] is False and read("llamafactory", written) == marked
    with_tools = {"instruction": "Hi", "output": "What", "tools": '[{"name": "f"}]'}
    assert read("llamafactory", with_tools).tools == [Tool("f")]


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ("x", "messages[1]: a message must be an object, not text"),
        ({"role": "gpt", "content": []}, "messages[1].role: 'gpt' is not a role"),
        ({"role": "user"}, "messages[1].content: must be a list of parts, not null"),
        (
            {"role": "user", "content": [{"type": "video_url", "value": "x"}]},
            "messages[1].content[0]: is a film (video_url), and no backend trains on those",
        ),
        (
            {"role": "user", "content": [{"type": "tool_call", "value": "{}"}]},
            "messages[1].content[0]: a message of the role user has no tool_call",
        ),
        ({"role": "user", "content": "x", "loss_weight": "1"}, "messages[1].loss_weight: must be a number, not text"),
    ],
)
def test_llamafactory_problems_are_located(message: Any, expected: str) -> None:
    row = {"messages": [typed("user", "a"), message, typed("assistant", "b", loss_weight=1.0)]}
    assert problems("llamafactory", row) == [expected]


def test_llamafactory_messages_with_columns_of_pictures() -> None:
    row = {
        "messages": [
            {"role": "user", "content": "<image>Who are they?"},
            {"role": "assistant", "content": "Two players."},
            {"role": "user", "content": "What are they doing?<image>"},
            {"role": "assistant", "content": "They play."},
        ],
        "images": ["a/1.jpg", PNG],
        "tools": "[]",
        "id": 7,
    }
    record = read("llamafactory", row)
    assert isinstance(record, Chat) and record.metadata == {"id": 7}
    assert record.messages[0].content == [ImagePart(url="a/1.jpg"), TextPart("Who are they?")]
    inline = ImagePart(data="AAAA", media_type="image/png")
    assert record.messages[2].content == [TextPart("What are they doing?"), inline]
    assert "1 images for 2 places <image>" in problems("llamafactory", {**row, "images": [PNG]})[0]


PICTURE = "iVBORw0KGgo="
INLINE = ImagePart(data=PICTURE, media_type="image/png")


@pytest.mark.parametrize(
    ("column", "value", "shown"),
    [
        ("image", "coco/1.jpg", ImagePart(url="coco/1.jpg")),
        ("image", {"bytes": PICTURE, "path": None}, INLINE),
        ("image", {"bytes": None, "path": "1.jpg"}, ImagePart(url="1.jpg")),
        ("images", [{"bytes": PICTURE, "path": "1.png"}], INLINE),
        ("images", "1.jpg", ImagePart(url="1.jpg")),
        ("images", [{"bytes": "AAAA", "path": None}], None),
        ("images", [5], None),
    ],
)
def test_a_picture_is_read_as_each_tool_writes_it(column: str, value: Any, shown: ImagePart | None) -> None:
    """LLaVA and Qwen-VL have a text, Hugging Face's `datasets` a struct."""
    turns = [{"from": "human", "value": "<image>\nWhat is it?"}, {"from": "gpt", "value": "A cat."}]
    messages = [{"role": "user", "content": [{"type": "image"}]}, {"role": "assistant", "content": "A cat."}]
    if shown is None:
        assert "known" in problems("llamafactory", {"conversations": turns, column: value})[0]
        assert "known" in problems("trl", {"messages": messages, column: value})[0]
        return
    record = read("llamafactory", {"id": 1, "conversations": turns, column: value})
    assert isinstance(record, Chat) and record.metadata == {"id": 1}
    assert record.messages[0].content == [shown, TextPart("What is it?")]
    parts = read("trl", {"messages": messages, column: value})
    assert isinstance(parts, Chat) and parts.messages[0].content == [shown] and not parts.metadata


@pytest.mark.parametrize("format", ["llamafactory", "trl"])
def test_a_column_image_stays_one_unless_it_would_be_read_as_a_picture(format: str) -> None:
    messages = [Message("user", "a"), Message("assistant", "b")]
    assert write(format, Chat(messages, metadata={"image": "nginx:latest"}))[1] == []
    lost = write(format, Chat(messages, metadata={"image": "a.jpg"}))[1]
    assert [loss.field for loss in lost] == ["image"]


@pytest.mark.parametrize(
    ("format", "row"),
    [
        ("openai", {"type": "input_audio", "input_audio": {"data": "AAA", "format": "wav"}}),
        ("openai", {"type": "video_url", "video_url": {"url": "a.mp4"}}),
        ("trl", {"type": "video", "video": "a.mp4"}),
        ("llamafactory", {"type": "audio_url", "value": "a.mp3"}),
        ("gemini", {"fileData": {"mimeType": "video/mp4", "fileUri": "gs://a"}}),
        ("gemini", {"fileData": {"fileUri": "gs://a.mp4"}}),
        ("gemini", {"inlineData": {"mimeType": "audio/wav", "data": "AAAA"}}),
    ],
)
def test_sounds_and_films_are_told_from_pictures_once_a_record(format: str, row: dict[str, Any]) -> None:
    if format == "gemini":
        turns = [{"role": "user", "parts": [row, row]}, {"role": "model", "parts": [{"text": "b"}]}]
        found = problems(format, {"contents": turns})
    else:
        messages = [{"role": "user", "content": [row, row]}, {"role": "assistant", "content": "b"}]
        found = problems(format, {"messages": messages})
    assert len(found) == 1 and "and no backend trains on those" in found[0]


@pytest.mark.parametrize("column", ["kto_tag", "label"])
@pytest.mark.parametrize("verdict", [True, False])
def test_llamafactory_messages_with_a_verdict(column: str, verdict: bool) -> None:
    row = {**chat("Where?", "There."), column: verdict, "source": "a"}
    record = read("llamafactory", row)
    assert isinstance(record, Labelled) and record.label is verdict
    assert [message.text for message in record.messages] == ["Where?", "There."] and record.metadata == {"source": "a"}
    written, lost = write("llamafactory", record)
    assert read("llamafactory", written) == record and not lost


# --- gemini ----------------------------------------------------------------------------------------------------------


def test_gemini() -> None:
    row = {
        "systemInstruction": {"role": "system", "parts": [{"text": "Use tools."}]},
        "contents": [
            {
                "role": "user",
                "parts": [
                    {"inlineData": {"mimeType": "image/png", "data": "AAAA"}},
                    {"fileData": {"mimeType": "image/jpeg", "fileUri": "gs://bucket/x.jpg"}},
                    {"text": "And?"},
                ],
            },
            {
                "role": "model",
                "parts": [
                    {"text": "hm", "thought": True},
                    {"text": "Two calls."},
                    {"functionCall": {"name": "f", "args": {"x": 1.0}, "id": "a"}},
                    {"functionCall": {"name": "g", "args": {}, "id": "b"}, "thoughtSignature": "sig"},
                ],
            },
            {
                "role": "user",
                "parts": [
                    {"functionResponse": {"name": "g", "response": {"output": "two"}, "id": "b"}},
                    {"functionResponse": {"name": "f", "response": {"degrees": 1}, "id": "a"}},
                ],
            },
            {"role": "model", "parts": [{"text": "Done."}]},
        ],
        "tools": [{"functionDeclarations": [{"name": "f", "description": "d", "parameters": SCHEMA}, {"name": "g"}]}],
        "labels": {"a": "b"},
    }
    row["systemInstruction"] = {"parts": [{"text": "Use tools."}]}
    record = read("gemini", row)
    assert isinstance(record, Chat)
    assert [message.role for message in record.messages] == ["system", "user", "assistant", "tool", "tool", "assistant"]
    answer = record.messages[2]
    assert (answer.content, answer.reasoning, [call.name for call in answer.tool_calls]) == (
        "Two calls.",
        "hm",
        ["f", "g"],
    )
    assert [m.name for m in record.messages[3:5]] == [None, None]  # told by the calls
    assert (record.messages[3].content, json.loads(record.messages[4].content)) == ("two", {"degrees": 1})  # type: ignore[arg-type]
    assert write("gemini", record) == (row, [])
    snake = {"system_instruction": row["systemInstruction"], "contents": row["contents"]}
    snake["tools"] = [{"function_declarations": row["tools"][0]["functionDeclarations"]}]
    assert read("gemini", {**snake, "labels": {"a": "b"}}) == record


def test_gemini_keeps_calls_results_and_their_order() -> None:
    row, lost = load_dataset_format("gemini").write_format_row(CALLS)
    line = msgspec.json.encode(row)
    assert not lost and b'"args":{"city":  "Oslo", "days": 1.0}' in line
    assert load_dataset_format("gemini").read_format_row(line) == CALLS
    content = [{"functionCall": {"name": "f", "args": {}}}, {"text": "after"}, {"text": "more", "thought": True}]
    split = read(
        "gemini", {"contents": [{"role": "user", "parts": [{"text": "a"}]}, {"role": "model", "parts": content}]}
    )
    assert isinstance(split, Chat) and len(split.messages) == 4  # a call, the text after it, a thought after that


def test_gemini_pairs() -> None:
    good, bad = ({"role": "model", "parts": [{"text": text}]} for text in ("Hello", "What"))
    row = {
        "contents": [{"role": "user", "parts": [{"text": "Hi"}]}],
        "completions": [{"score": 1.0, "completion": good}, {"score": 0.0, "completion": bad}],
    }
    assert read("gemini", row) == PAIR and write("gemini", PAIR) == (row, [])
    assert problems("gemini", {**row, "completions": [{"score": 1, "completion": good}]}) == [
        "completions: must be two answers"
    ]


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("x", "contents[1]: must be an object, not text"),
        ({"role": "assistant", "parts": [{"text": "x"}]}, "contents[1].role: 'assistant' is not a role"),
        ({"role": "user", "parts": []}, "contents[1].parts: is empty"),
        ({"role": "user", "parts": [{"video": 1}]}, "contents[1].parts[0]: is not a part"),
        (
            {"role": "user", "parts": [{"functionCall": {"name": "f"}}]},
            "contents[1].parts[0]: a part with functionCall is not supported here",
        ),
        (
            {"role": "model", "parts": [{"functionCall": {"name": "f", "args": "x"}}]},
            "contents[1].parts[0].functionCall.args: must be an object, not text",
        ),
    ],
)
def test_gemini_problems_are_located(content: Any, expected: str) -> None:
    ends = [{"role": role, "parts": [{"text": "a"}]} for role in ("user", "model")]
    assert problems("gemini", {"contents": [ends[0], content, ends[1]]}) == [expected]
