"""A chat in OpenAI's words becomes a request of the Messages API, or is refused by the name of what cannot be said."""

from __future__ import annotations

import re
from typing import Any

import pytest

from tuneport.backends.anthropic.request import MAX_TOKENS, build_message_request
from tuneport.errors import RejectedError, UnsupportedError
from tuneport.manifests import find_manifest_model, load_manifest

USER = {"role": "user", "content": "Hi"}
CALL = {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": '{"place": "Ulm"}'}}
TOOL = {
    "type": "function",
    "function": {"name": "weather", "description": "Tells it", "parameters": {"type": "object"}},
}


def built(messages: list[dict[str, Any]], model: str = "claude-haiku-4-5", **options: Any) -> dict[str, Any]:
    facts = find_manifest_model(load_manifest("anthropic"), model)
    return build_message_request("anthropic", model, facts, messages, options)


def test_system_and_developer_go_to_the_head_and_roles_alternate() -> None:
    request = built(
        [
            {"role": "system", "content": "Be brief."},
            {"role": "developer", "content": "Be kind."},
            USER,
            {"role": "user", "content": "Are you there?"},
            {"role": "assistant", "content": "Yes."},
            USER,
        ],
        max_tokens=5,
    )
    assert request == {
        "model": "claude-haiku-4-5",
        "max_tokens": 5,
        "system": [{"type": "text", "text": "Be brief."}, {"type": "text", "text": "Be kind."}],
        "messages": [
            {"role": "user", "content": [{"type": "text", "text": "Hi"}, {"type": "text", "text": "Are you there?"}]},
            {"role": "assistant", "content": "Yes."},
            {"role": "user", "content": "Hi"},
        ],
    }


def test_calls_and_their_results() -> None:
    request = built(
        [
            USER,
            {"role": "assistant", "content": "", "tool_calls": [CALL]},
            {"role": "tool", "tool_call_id": "c1", "name": "weather", "content": "rain"},
            {"role": "user", "content": "And now?"},
        ],
        tools=[TOOL],
        tool_choice={"type": "function", "function": {"name": "weather"}},
        parallel_tool_calls=False,
    )
    assert request["messages"][1:] == [
        {
            "role": "assistant",
            "content": [{"type": "tool_use", "id": "c1", "name": "weather", "input": {"place": "Ulm"}}],
        },
        {
            "role": "user",
            "content": [
                {"type": "tool_result", "tool_use_id": "c1", "content": "rain"},
                {"type": "text", "text": "And now?"},
            ],
        },
    ]
    assert request["tools"] == [{"name": "weather", "description": "Tells it", "input_schema": {"type": "object"}}]
    assert request["tool_choice"] == {"type": "tool", "name": "weather", "disable_parallel_tool_use": True}
    assert built([USER], tools=[TOOL], tool_choice="required")["tool_choice"] == {"type": "any"}
    assert built([USER], tools=[TOOL], tool_choice="none")["tool_choice"] == {"type": "none"}
    assert "tool_choice" not in built([USER], tools=[TOOL], tool_choice="auto")
    assert "tools" not in built([USER], tools=[], parallel_tool_calls=False)


def test_images_inline_and_by_address() -> None:
    parts = [
        {"type": "text", "text": "Which is it?"},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,aGk=", "detail": "auto"}},
        {"type": "image_url", "image_url": {"url": "https://x.example/cat.png"}},
    ]
    (turn,) = built([{"role": "user", "content": parts}])["messages"]
    assert turn["content"][1:] == [
        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "aGk="}},
        {"type": "image", "source": {"type": "url", "url": "https://x.example/cat.png"}},
    ]


def test_options() -> None:
    schema = {"type": "object", "properties": {}}
    request = built(
        [USER],
        temperature=1.7,
        top_p=1,
        top_k=3,
        stop="END",
        user="u1",
        reasoning_effort="low",
        response_format={"type": "json_schema", "json_schema": {"name": "a", "schema": schema}},
        n=1,
        seed=None,
        frequency_penalty=0,
        stream_options={"include_usage": True},
    )
    assert request["max_tokens"] == MAX_TOKENS
    assert (request["temperature"], request["top_k"]) == (1.0, 3) and "top_p" not in request
    assert request["stop_sequences"] == ["END"] and request["metadata"] == {"user_id": "u1"}
    assert request["output_config"] == {"effort": "low", "format": {"type": "json_schema", "schema": schema}}
    assert not {"n", "stop", "user", "seed", "frequency_penalty", "stream_options"} & set(request)
    assert built([USER], max_tokens=3, max_completion_tokens=7)["max_tokens"] == 7


def test_of_temperature_and_top_p_one_is_sent() -> None:
    with pytest.raises(UnsupportedError, match="takes temperature or top_p, not both") as caught:
        built([USER], temperature=0.2, top_p=0.5)
    assert caught.value.param == "top_p"
    assert built([USER], temperature=0.2, top_p=1.0).keys() & {"temperature", "top_p"} == {"temperature"}
    assert built([USER], temperature=1, top_p=0.5).keys() & {"temperature", "top_p"} == {"top_p"}
    assert "top_p" not in built([USER], "claude-sonnet-5-5", top_p=1)


def test_no_answer_of_no_tokens_becomes_a_long_one() -> None:
    assert built([USER], max_tokens=0)["max_tokens"] == 0  # which the API refuses


@pytest.mark.parametrize("nothing", ["", " \n", [{"type": "text", "text": ""}]])
def test_an_empty_system_prompt_is_none(nothing: Any) -> None:
    assert "system" not in built([{"role": "system", "content": nothing}, USER])


def test_empty_text_beside_other_parts_is_left_out() -> None:
    parts = [{"type": "text", "text": ""}, {"type": "text", "text": "Hi"}]
    (turn,) = built([{"role": "user", "content": parts}])["messages"]
    assert turn["content"] == [{"type": "text", "text": "Hi"}]


def test_parameters_without_a_type_are_an_object() -> None:
    def schema(parameters: dict[str, Any]) -> Any:
        tool = {"type": "function", "function": {"name": "weather", "parameters": parameters}}
        return built([USER], tools=[tool])["tools"][0]["input_schema"]

    assert schema({}) == {"type": "object"}
    assert schema({"properties": {"a": {}}}) == {"type": "object", "properties": {"a": {}}}


def test_ids_of_other_providers_become_the_apis_own() -> None:
    calls = [CALL | {"id": "functions.weather:0"}, CALL | {"id": "functions.weather:1"}]
    results = [{"role": "tool", "tool_call_id": call["id"], "content": "rain"} for call in calls]
    _, asked, answered = built([USER, {"role": "assistant", "tool_calls": calls}, *results])["messages"]
    ids = [block["id"] for block in asked["content"]]
    assert ids == [block["tool_use_id"] for block in answered["content"]] and len(set(ids)) == 2
    assert all(re.fullmatch("toolu_[0-9a-f]{24}", each) for each in ids)


@pytest.mark.parametrize("model", ["claude-sonnet-5-5", "claude-of-tomorrow"])
def test_newer_models_take_no_sampling(model: str) -> None:
    assert "temperature" not in built([USER], model, temperature=0.0)
    with pytest.raises(UnsupportedError, match=f"{model} at anthropic takes no top_p; leave it out"):
        built([USER], model, top_p=0.5)


@pytest.mark.parametrize(
    ("options", "param"),
    [
        ({"seed": 7}, "seed"),
        ({"n": 2}, "n"),
        ({"logprobs": True}, "logprobs"),
        ({"frequency_penalty": 0.5}, "frequency_penalty"),
        ({"response_format": {"type": "json_object"}}, "response_format"),
        ({"reasoning_effort": "minimal"}, "reasoning_effort"),
        ({"tools": [TOOL], "tool_choice": {"type": "custom"}}, "tool_choice"),
        ({"tools": ["weather"]}, "tools"),
        ({"of_tomorrow": 1}, "of_tomorrow"),
    ],
)
def test_an_option_that_cannot_be_said_is_named(options: dict[str, Any], param: str) -> None:
    with pytest.raises(UnsupportedError, match=param) as caught:
        built([USER], **options)
    assert caught.value.param == param


@pytest.mark.parametrize(
    ("messages", "named"),
    [
        ([USER, {"role": "assistant", "content": "A"}, {"role": "system", "content": "B"}], r"messages\[2\].role"),
        ([{"role": "user", "name": "Ada", "content": "Hi"}], "name"),
        ([USER, {"role": "assistant", "content": "A", "reasoning_content": "Hm"}], r"messages\[1\].reasoning"),
        ([USER, {"role": "assistant", "content": None, "refusal": "No"}], r"messages\[1\].refusal"),
        ([{"role": "system", "content": "Alone."}], "there is no message of a user"),
        ([{"role": "system", "content": [{"type": "image_url", "image_url": {"url": "https://x.example/cat.png"}}]},
          USER], "a system prompt has no images"),
        ([{"role": "nobody", "content": "Hi"}], r"messages\[0\].role"),
        ([USER, {"role": "tool", "tool_call_id": "other", "content": "rain"}], "tool_call_id"),
        ([{"role": "user", "content": [{"type": "input_audio", "input_audio": {}}]}], "input_audio"),
        ([USER, {"role": "assistant", "tool_calls": [CALL | {"function": {"name": "w", "arguments": "no"}}]}], "argum"),
    ],
)  # fmt: skip
def test_what_a_message_holds_and_the_api_has_not_is_named(messages: list[dict[str, Any]], named: str) -> None:
    with pytest.raises(RejectedError, match=named) as caught:
        built(messages)
    assert "anthropic is not asked" in str(caught.value) and "\n" not in str(caught.value)
