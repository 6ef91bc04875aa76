"""What is trained on and what is not, on conversations small enough to check by hand."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.tiny import CHATML, WITH_TOOLS, tiny_tokenizer
from tuneport.data.rows.records import (
    Chat,
    Graded,
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
from tuneport.data.templates.rendering import IGNORED, RenderedExample, TemplateRenderer
from tuneport.errors import DatasetError, UnsupportedError
from tuneport.types import LossOn

pytest.importorskip("transformers", reason="rendering needs a tokenizer: pip install 'tuneport[local]'")

QUESTION = [Message("system", "S"), Message("user", "Q")]


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return tiny_tokenizer()


@pytest.fixture
def renderer(tokenizer: Any) -> TemplateRenderer:
    return TemplateRenderer(tokenizer)


def trained(renderer: TemplateRenderer, rendered: RenderedExample) -> list[str]:
    """The runs of trained tokens, as text."""
    runs: list[list[int]] = [[]]
    for token, label in zip(rendered.input_ids, rendered.labels, strict=True):
        if label == IGNORED:
            runs.append([])
        else:
            assert label == token
            runs[-1].append(token)
    return [renderer.tokenizer.decode(run) for run in runs if run]


def test_the_answer_and_its_end_of_turn_are_trained_and_nothing_else(renderer: TemplateRenderer) -> None:
    rendered = renderer.render(Chat([*QUESTION, Message("assistant", "A")]))

    assert (
        rendered.text
        == "<|im_start|>system\nS<|im_end|>\n<|im_start|>user\nQ<|im_end|>\n<|im_start|>assistant\nA<|im_end|>\n"
    )
    assert trained(renderer, rendered) == ["A<|im_end|>"]
    assert [rendered.text[begin:end] for begin, end in rendered.spans] == ["A<|im_end|>"]
    assert renderer.tokenizer.decode(rendered.input_ids) == rendered.text


TURNS = [
    *QUESTION,
    Message("assistant", "one"),
    Message("user", "Q2"),
    Message("assistant", "two"),
    Message("assistant", "three", weight=0),
    Message("assistant", "four"),
]


@pytest.mark.parametrize(
    ("loss_on", "expected"),
    [("assistant", ["one", "two", "four"]), ("last", ["four"]), ("completion", ["two", "four"])],
)
def test_the_loss_is_on_the_answers_that_are_asked_for_but_those_of_weight_0(
    tokenizer: Any, loss_on: LossOn, expected: list[str]
) -> None:
    renderer = TemplateRenderer(tokenizer, loss_on=loss_on)
    assert trained(renderer, renderer.render(Chat(TURNS))) == [f"{text}<|im_end|>" for text in expected]
    flat = renderer.render(PromptCompletion("Q: ", "A"))
    assert trained(renderer, flat) == ["A<|im_end|>"]
    assert trained(renderer, renderer.render(PlainText("All of it")))[0].endswith("of it<|im_end|>")


@pytest.mark.parametrize(
    ("loss_on", "messages", "rule"),
    [
        ("last", [*TURNS[:3], Message("user", "Q"), Message("assistant", "x", weight=0)], "loss on last, no message"),
        ("completion", [*TURNS[:3], Message("user", "Q")], "there is no assistant message to train on"),
    ],
)
def test_a_record_whose_chosen_answer_is_not_there_is_refused(
    tokenizer: Any, loss_on: LossOn, messages: list[Message], rule: str
) -> None:
    with pytest.raises(DatasetError, match=rule):
        TemplateRenderer(tokenizer, loss_on=loss_on).render(Chat(messages))
    TemplateRenderer(tokenizer).render(Chat(messages))


def test_a_question_is_every_turn_up_to_the_last_answer_and_the_answer_a_column(renderer: TemplateRenderer) -> None:
    chat = Chat([*TURNS[:3], Message("user", "Q2"), Message("assistant", "two")], metadata={"source": "wiki"})
    [row] = renderer.render_prompts([(1, chat)])
    assert renderer.tokenizer.decode(row.prompt_ids).endswith("Q2<|im_end|>\n<|im_start|>assistant\n")
    assert [message["role"] for message in row.messages] == ["system", "user", "assistant", "user"]
    assert row.columns == {"source": "wiki", "answer": "two"}
    graded = Graded(QUESTION, {"answer": 3, "facts": [1, {"a": None}]})
    flat = PromptCompletion("Why?", "Because.")
    pair = Preference(QUESTION, [Message("assistant", "good")], [Message("assistant", "bad")])
    rows = renderer.render_prompts([(1, graded), (2, flat), (3, pair)])
    assert [row.columns["answer"] for row in rows] == [3, "Because.", "good"]
    with pytest.raises(UnsupportedError, match="a PlainText record without a user's message"):
        renderer.render_prompts([(1, PlainText("T"))])
    with pytest.raises(DatasetError, match="leaves no room for an answer within 20"):
        TemplateRenderer(renderer.tokenizer, max_length=20).render_prompts([(1, graded)])


def test_every_assistant_turn_is_trained_except_those_of_weight_0(renderer: TemplateRenderer) -> None:
    messages = [
        Message("user", "1"),
        Message("assistant", "one", weight=0),
        Message("user", "2"),
        Message("assistant", "two", weight=1),
        Message("user", "3"),
        Message("assistant", "three"),
    ]

    assert trained(renderer, renderer.render(Chat(messages))) == ["two<|im_end|>", "three<|im_end|>"]


def test_text_after_the_last_answer_is_not_trained(renderer: TemplateRenderer) -> None:
    messages = [*QUESTION, Message("assistant", "A"), Message("user", "thanks")]

    assert trained(renderer, renderer.render(Chat(messages))) == ["A<|im_end|>"]


def test_an_answer_that_looks_like_the_question_is_told_apart(renderer: TemplateRenderer) -> None:
    messages = [
        Message("user", "same"),
        Message("assistant", "same"),
        Message("user", "x"),
        Message("assistant", "same"),
    ]
    rendered = renderer.render(Chat(messages))

    assert trained(renderer, rendered) == ["same<|im_end|>", "same<|im_end|>"]


@pytest.mark.parametrize("answer", ["A", "", " leading", "\n\nlines\n", "ünïcödé 日本", "<|im_start|>"])
def test_the_prompt_at_inference_is_the_beginning_of_the_training_tokens(
    renderer: TemplateRenderer, answer: str
) -> None:
    history = [*QUESTION, Message("assistant", "first"), Message("user", "again")]
    rendered = renderer.render(Chat([*history, Message("assistant", answer)]))
    prompt = renderer.prompt_ids(history)

    assert rendered.input_ids[: len(prompt)] == prompt
    assert rendered.input_ids[len(prompt) :][: len(renderer.answer_ids(answer))] == renderer.answer_ids(answer)


def test_a_missing_system_prompt_gets_the_default_of_the_template_in_both(renderer: TemplateRenderer) -> None:
    rendered = renderer.render(Chat([Message("user", "Q"), Message("assistant", "A")]))

    assert "Be kind." in rendered.text
    assert rendered.text.startswith(renderer.prompt_text([Message("user", "Q")]))


def test_a_developer_message_is_the_system_prompt(renderer: TemplateRenderer) -> None:
    text = renderer.prompt_text([Message("developer", "D"), Message("user", "Q")])

    assert text.startswith("<|im_start|>system\nD<|im_end|>") and "Be kind." not in text


def test_prompt_and_completion_train_the_completion_and_the_end_of_sequence(renderer: TemplateRenderer) -> None:
    rendered = renderer.render(PromptCompletion("Q: why? A:", " because"))

    assert trained(renderer, rendered) == [" because<|im_end|>"]


def test_plain_text_is_trained_whole_but_for_its_first_token(renderer: TemplateRenderer) -> None:
    assert trained(renderer, renderer.render(PlainText("all of it"))) == ["ll of it<|im_end|>"]


CALL = ToolCall("weather", '{"city":  "Oslo"}', "call_1")
TOOL_TALK = [
    Message("user", "Rain?"),
    Message("assistant", None, tool_calls=[CALL]),
    Message("tool", "rain", tool_call_id="call_1"),
    Message("assistant", "Yes."),
]


def test_tools_are_written_as_text_where_the_template_drops_them(renderer: TemplateRenderer) -> None:
    rendered = renderer.render(Chat(TOOL_TALK, tools=[Tool("weather", "tells", {"type": "object", "properties": {}})]))

    assert '"name": "weather", "description": "tells"' in rendered.text.split("<|im_end|>")[0]
    assert trained(renderer, rendered) == [
        '<tool_call>{"name": "weather", "arguments": {"city":  "Oslo"}}</tool_call><|im_end|>',
        "Yes.<|im_end|>",
    ]
    assert "<tool_response>\nrain\n</tool_response>" in rendered.text
    assert any("cannot show tools" in note for note in renderer.notes)


def test_tools_are_the_templates_own_where_it_shows_them() -> None:
    renderer = TemplateRenderer(tiny_tokenizer(WITH_TOOLS))
    rendered = renderer.render(Chat(TOOL_TALK, tools=[Tool("weather", "tells")]))

    assert rendered.text.startswith("<|im_start|>tools\n")
    assert trained(renderer, rendered) == ['[weather({"city": "Oslo"})]<|im_end|>', "Yes.<|im_end|>"]
    assert renderer.notes == []


def test_results_that_come_together_are_one_turn(renderer: TemplateRenderer) -> None:
    calls = [ToolCall("a", "{}", "1"), ToolCall("b", "{}", "2")]
    messages = [
        Message("user", "Q"),
        Message("assistant", "Let me look.", tool_calls=calls),
        Message("tool", "one", tool_call_id="1"),
        Message("tool", "two", tool_call_id="2"),
        Message("assistant", "A"),
    ]
    text = renderer.render(Chat(messages)).text

    assert text.count("<|im_start|>user") == 2
    assert "Let me look.\n<tool_call>" in text
    assert "<tool_response>\none\n</tool_response>\n<tool_response>\ntwo\n</tool_response><|im_end|>" in text


def test_arguments_that_are_no_json_are_kept_as_a_string(renderer: TemplateRenderer) -> None:
    messages = [Message("user", "Q"), Message("assistant", None, tool_calls=[ToolCall("f", "not json")])]

    assert '"arguments": "not json"' in renderer.render(Chat(messages)).text


def test_reasoning_is_written_out_where_the_template_drops_it(renderer: TemplateRenderer) -> None:
    rendered = renderer.render(Chat([Message("user", "Q"), Message("assistant", "A", reasoning="hm")]))

    assert trained(renderer, rendered) == ["<think>\nhm\n</think>\n\nA<|im_end|>"]
    assert any("reasoning" in note for note in renderer.notes)


def test_a_template_without_a_system_role_gets_it_in_the_first_user_message() -> None:
    template = CHATML.replace(
        "{% for message in messages %}",
        "{% for message in messages %}"
        "{% if message['role'] == 'system' %}{{ raise_exception('no system') }}{% endif %}",
        1,
    )
    renderer = TemplateRenderer(tiny_tokenizer(template))
    text = renderer.render(Chat([*QUESTION, Message("assistant", "A")])).text

    assert "<|im_start|>user\nS\n\nQ<|im_end|>" in text
    assert any("system" in note for note in renderer.notes)


def test_a_template_that_drops_old_reasoning_still_gives_the_right_mask() -> None:
    template = (
        "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' }}"
        "{% if m.reasoning_content is defined and loop.last %}"
        "{{ '<think>' + m.reasoning_content + '</think>' }}{% endif %}"
        "{{ m.content + '<|im_end|>\n' }}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
    )
    renderer = TemplateRenderer(tiny_tokenizer(template))
    messages = [
        Message("user", "1"),
        Message("assistant", "one", reasoning="old"),
        Message("user", "2"),
        Message("assistant", "two", reasoning="new"),
    ]

    assert trained(renderer, renderer.render(Chat(messages))) == ["one<|im_end|>", "<think>new</think>two<|im_end|>"]


def test_a_template_that_rewrites_what_came_before_is_refused() -> None:
    template = "{{ messages | length }}" + CHATML
    renderer = TemplateRenderer(tiny_tokenizer(template))

    with pytest.raises(UnsupportedError, match="changes the conversation before"):
        renderer.render(Chat([Message("user", "Q"), Message("assistant", "A")]))


def test_a_tokenizer_without_a_template_is_refused() -> None:
    with pytest.raises(UnsupportedError, match="no chat template"):
        TemplateRenderer(tiny_tokenizer(None)).render(Chat([Message("user", "Q"), Message("assistant", "A")]))


def test_all_bad_lines_are_named_at_once(tokenizer: Any) -> None:
    renderer = TemplateRenderer(tokenizer, max_length=80)
    records = [
        (1, Chat([Message("user", "Q"), Message("assistant", "A")])),
        (2, Chat([Message("user", "Q" * 200), Message("assistant", "A")])),
        (3, Chat([Message("user", "Q"), Message("assistant", "A", weight=0)])),
    ]

    with pytest.raises(DatasetError) as caught:
        renderer.render_all(records, path="train.jsonl")
    assert [problem.line for problem in caught.value.problems] == [2, 3]
    assert "within the limit of 80 there is nothing to train on" in str(caught.value.problems[0])
    assert "weight 0" in str(caught.value.problems[1])


def test_a_long_record_is_cut_at_the_end_and_the_note_says_which(tokenizer: Any) -> None:
    record = Chat([Message("user", "Q"), Message("assistant", "A" * 200)])
    whole = TemplateRenderer(tokenizer).render(record)
    renderer = TemplateRenderer(tokenizer, max_length=100)

    [short, cut] = renderer.render_all([(1, Chat([Message("user", "Q"), Message("assistant", "A")])), (2, record)])
    assert short.cut == 0
    assert cut.input_ids == whole.input_ids[:100] and cut.labels == whole.labels[:100]
    assert cut.cut == len(whole.input_ids) - 100
    assert renderer.notes == [f"1 record is over the limit of 100 tokens and cut at the end: line 2 by {cut.cut:,}"]


def test_notes_tell_training_and_validation_apart(tokenizer: Any) -> None:
    record = Chat([Message("user", "Q"), Message("assistant", "A" * 200)])
    renderer = TemplateRenderer(tokenizer, max_length=100)
    renderer.file = "the training file"
    [cut, _] = renderer.render_all([(1, record), (4, record)])
    renderer.file = "the validation file"
    renderer.render_all([(2, record)])
    over = "over the limit of 100 tokens and cut at the end"
    assert renderer.notes == [
        f"2 records of the training file are {over}: line 1 by {cut.cut:,}, line 4 by {cut.cut:,}",
        f"1 record of the validation file is {over}: line 2 by {cut.cut:,}",
    ]


def test_both_answers_of_a_long_pair_are_cut_to_the_limit(tokenizer: Any) -> None:
    context, chosen, rejected = Message("user", "Q"), Message("assistant", "A" * 200), Message("assistant", "B" * 9)
    whole = TemplateRenderer(tokenizer).render_preferences([(1, Preference([context], [chosen], [rejected]))])[0]
    limit = len(whole.prompt_ids) + 50
    renderer = TemplateRenderer(tokenizer, max_length=limit)

    [pair] = renderer.render_preferences([(1, Preference([context], [chosen], [rejected]))])
    assert pair.chosen_ids == whole.chosen_ids[:50] and pair.rejected_ids == whole.rejected_ids
    assert pair.cut == len(whole.chosen_ids) - 50 and "line 1 by" in renderer.notes[0]
    alike = Preference([context], [chosen], [Message("assistant", "A" * 201)])
    with pytest.raises(DatasetError, match="nothing to train on"):
        renderer.render_preferences([(1, alike)])


def test_an_image_is_refused_with_its_line(renderer: TemplateRenderer) -> None:
    parts = [TextPart("look"), ImagePart(url="https://example.com/a.png")]

    with pytest.raises(UnsupportedError, match=r"train.jsonl:7: .*image"):
        record = Chat([Message("user", parts), Message("assistant", "A")])
        renderer.render(record, path="train.jsonl", line=7)


def test_a_record_of_another_method_is_refused(renderer: TemplateRenderer) -> None:
    with pytest.raises(UnsupportedError, match="Labelled"):
        renderer.render(Labelled([*QUESTION, Message("assistant", "A")], label=True))


def test_a_preference_is_one_prompt_and_two_answers(renderer: TemplateRenderer) -> None:
    record = Preference(QUESTION, [Message("assistant", "good")], [Message("assistant", "bad")])
    (pair,) = renderer.render_preferences([(1, record)])
    decode = renderer.tokenizer.decode

    assert pair.prompt_ids == renderer.prompt_ids(QUESTION)
    assert decode(pair.chosen_ids) == "good<|im_end|>"
    assert decode(pair.rejected_ids) == "bad<|im_end|>"


def test_a_preference_of_equal_answers_is_a_problem(renderer: TemplateRenderer) -> None:
    record = Preference(QUESTION, [Message("assistant", "x")], [Message("assistant", "x")])

    with pytest.raises(DatasetError, match="the same answer"):
        renderer.render_preferences([(1, record)])


def test_a_tokenizer_that_cannot_be_cut_is_read_by_offsets() -> None:
    """A tokenizer that writes every text with a space in front: pieces would not add up to the whole."""
    from tokenizers import pre_tokenizers

    tokenizer = tiny_tokenizer()
    tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    renderer = TemplateRenderer(tokenizer)

    assert trained(renderer, renderer.render(Chat([*QUESTION, Message("assistant", "A")])))[-1].endswith("A<|im_end|>")
