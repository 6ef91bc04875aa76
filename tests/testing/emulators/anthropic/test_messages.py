"""The Anthropic emulator refuses what users of the API report as refused, in the words that they quote."""

from __future__ import annotations

from typing import Any

import pytest

from tuneport.testing.emulators import AnthropicEmulator
from tuneport.testing.emulators.anthropic.emulator import MODELS
from tuneport.testing.emulators.anthropic.messages import EmulatedMessageRefusal, refuse_emulated_message

HAIKU, SONNET = "claude-haiku-4-5", "claude-sonnet-5-5"
USER = {"role": "user", "content": "Hi"}
MARKED = {"type": "text", "text": "Hi", "cache_control": {"type": "ephemeral"}}


def request(**fields: Any) -> dict[str, Any]:
    return {"model": HAIKU, "max_tokens": 8, "messages": [USER]} | fields


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"temperature": 0.2, "top_p": 0.5}, "cannot both be specified"),
        ({"model": SONNET, "temperature": 0}, "`temperature` is deprecated for this model"),
        ({"system": [{"type": "text", "text": ""}]}, "system: text content blocks must be non-empty"),
        ({"messages": [{"role": "user", "content": " \n"}]}, "messages: .* must contain non-whitespace text"),
        ({"stop_sequences": ["\n"]}, "each stop sequence must contain non-whitespace"),
        ({"tools": [{"name": "a.b", "input_schema": {"type": "object"}}]}, r"tools\.0\.custom\.name"),
        ({"tools": [{"name": "a", "input_schema": {}}]}, r"tools\.0\.custom\.input_schema\.type: Field required"),
        ({"model": SONNET, "tools": [{"name": "a", "input_schema": {"type": "object"}}], "tool_choice":
          {"type": "any"}}, "forced tool use"),
        ({"model": SONNET, "messages": [USER, {"role": "assistant", "content": "A"}]}, "does not support .* prefill"),
        ({"messages": [USER, {"role": "assistant", "content": "A "}]}, "cannot end with trailing whitespace"),
        ({"messages": [{"role": "user", "content": [MARKED] * 5}]}, "maximum of 4 blocks .* Found 5"),
        ({"messages": [USER, {"role": "assistant", "content": [{"type": "tool_use", "id": "a:0", "name": "a",
          "input": {}}]}]}, r"messages\.1\.content\.0\.tool_use\.id"),
    ],
)  # fmt: skip
def test_what_the_api_refuses(fields: dict[str, Any], told: str) -> None:
    with pytest.raises(EmulatedMessageRefusal, match=told):
        refuse_emulated_message(request(**fields), MODELS)


def test_defaults_are_no_sampling_and_older_models_go_on_with_an_answer() -> None:
    refuse_emulated_message(request(model=SONNET, temperature=1), MODELS)
    refuse_emulated_message(request(messages=[USER, {"role": "assistant", "content": "A"}]), MODELS)
    refuse_emulated_message(request(messages=[{"role": "user", "content": [MARKED] * 4}]), MODELS)


def test_the_stop_sequence_that_was_met_is_named() -> None:
    message = AnthropicEmulator(answer=lambda asked: "one two three").message(request(stop_sequences=["three", "two"]))
    assert (message["stop_reason"], message["stop_sequence"]) == ("stop_sequence", "two")


def test_a_row_that_names_no_model_of_the_account_has_its_own_error(anthropic: AnthropicEmulator) -> None:
    import httpx2

    anthropic.pace = 0.0
    rows = [{"custom_id": "a", "params": request()}, {"custom_id": "b", "params": request(model="claude-of-old")}]
    with httpx2.Client(base_url=anthropic.base_url, headers={"Authorization": f"Bearer {anthropic.key}"}) as client:
        batch = client.post("/v1/messages/batches", json={"requests": rows}).json()
        found = client.get(f"/v1/messages/batches/{batch['id']}/results").text
    assert '"not_found_error"' in found and found.count('"succeeded"') == 1
