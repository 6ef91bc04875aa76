"""The rules of the Messages API for one request: its refusals, answers, counts and cached prefixes."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from tuneport.testing.emulators.datasets import emulated_token_count
from tuneport.testing.emulators.inference import BASE_ANSWER, limit_emulated_answer

KNOWN = frozenset(
    "cache_control container diagnostics inference_geo max_tokens messages metadata model output_config service_tier "
    "speed stop_sequences stream system temperature thinking tool_choice tools top_k top_p".split()
)
COUNTED = KNOWN - {
    "max_tokens", "metadata", "stop_sequences", "stream", "temperature", "top_k", "top_p", "service_tier",
}  # fmt: skip
"""Fields that a request for a count of tokens takes."""
SAMPLING = ("temperature", "top_p", "top_k")
CACHED_BLOCK = "cache_control"
STOPS = {"stop": "end_turn", "length": "max_tokens"}


class EmulatedMessageRefusal(ValueError):
    """A request that the API refuses, in its words."""


def refuse_emulated_message(given: dict[str, Any], models: dict[str, Any], known: frozenset[str] = KNOWN) -> None:
    """Raise EmulatedMessageRefusal for what the API refuses; the order of its checks is not published."""
    for name in given:
        if name not in known:
            raise EmulatedMessageRefusal(f"{name}: Extra inputs are not permitted")
    for name in ("model", "messages", *(("max_tokens",) if "max_tokens" in known else ())):
        if name not in given:
            raise EmulatedMessageRefusal(f"{name}: Field required")
    if "max_tokens" in known and (not isinstance(given["max_tokens"], int) or given["max_tokens"] < 1):
        raise EmulatedMessageRefusal("max_tokens: Input should be greater than or equal to 1")
    for name in SAMPLING:
        if name in given and not models[given["model"]]["sampling"]:
            raise EmulatedMessageRefusal(f"`{name}` is deprecated for this model.")
    if not 0 <= given.get("temperature", 0) <= 1:
        raise EmulatedMessageRefusal("temperature: range: 0..1")
    if not given["messages"]:
        raise EmulatedMessageRefusal("messages: at least one message is required")
    _refuse_turns(given["messages"])


def _refuse_turns(turns: list[dict[str, Any]]) -> None:
    if turns[0]["role"] != "user":
        raise EmulatedMessageRefusal('messages: first message must use the "user" role')
    called: set[str] = set()
    for number, turn in enumerate(turns):
        if turn["role"] not in ("user", "assistant"):
            raise EmulatedMessageRefusal(f'messages.{number}.role: Input should be "user" or "assistant"')
        if set(turn) - {"role", "content"}:
            raise EmulatedMessageRefusal(
                f"messages.{number}.{min(set(turn) - {'role', 'content'})}: Extra inputs are not permitted"
            )
        blocks = emulated_blocks(turn)
        answered = {block["tool_use_id"] for block in blocks if block["type"] == "tool_result"}
        if called - answered:
            raise EmulatedMessageRefusal(
                f"messages.{number}: `tool_use` ids were found without `tool_result` blocks after them"
            )
        if answered - called:
            raise EmulatedMessageRefusal(f"messages.{number}: unexpected `tool_use_id` found in `tool_result` blocks")
        for block in blocks:
            if block["type"] == "text" and not block["text"]:
                raise EmulatedMessageRefusal(f"messages.{number}: text content blocks must be non-empty")
        called = {block["id"] for block in blocks if block["type"] == "tool_use"}
    if called:
        raise EmulatedMessageRefusal("messages: the last `tool_use` has no `tool_result`")


def emulated_blocks(turn: dict[str, Any]) -> list[dict[str, Any]]:
    content = turn["content"]
    return [{"type": "text", "text": content}] if isinstance(content, str) else content


def emulated_last_text(given: dict[str, Any]) -> str:
    """Return the text of the last turn, with that of results."""
    return "".join(block.get("text") or "" for block in emulated_blocks(given["messages"][-1]))


def emulated_answer_blocks(given: dict[str, Any], said: str | None, number: str) -> tuple[list[dict[str, Any]], str]:
    """Return the blocks of the answer and why it stops: the text `said`, or a call if a tool has to be called."""
    choice = given.get("tool_choice") or {}
    if said is None and choice.get("type") in ("any", "tool"):
        name = choice.get("name") or given["tools"][0]["name"]
        return [{"type": "tool_use", "id": f"toolu_{number}", "name": name, "input": {"place": "Ulm"}}], "tool_use"
    reply, reason = limit_emulated_answer({"content": BASE_ANSWER if said is None else said}, given["max_tokens"])
    text = reply["content"]
    found = [place for stop in given.get("stop_sequences") or () if (place := text.find(stop)) >= 0]
    if found:
        return [{"type": "text", "text": text[: min(found)]}], "stop_sequence"
    return [{"type": "text", "text": text}], STOPS[reason]


def emulated_cached_prefixes(given: dict[str, Any]) -> Iterator[tuple[str, int]]:
    """Yield each prefix that ends in a block with cache_control, as text, with its tokens."""
    whole, tokens = "", 0
    blocks = [*(given.get("tools") or ()), *emulated_blocks({"content": given.get("system") or []})]
    for block in [*blocks, *(block for turn in given["messages"] for block in emulated_blocks(turn))]:
        marked = {name: value for name, value in block.items() if name != CACHED_BLOCK}
        whole += json.dumps(marked, sort_keys=True)
        tokens += _tokens(marked)
        if CACHED_BLOCK in block:
            yield whole, tokens


def count_emulated_input(given: dict[str, Any]) -> int:
    blocks = [*(given.get("tools") or ()), *emulated_blocks({"content": given.get("system") or []})]
    blocks += [block for turn in given["messages"] for block in emulated_blocks(turn)]
    return 3 * len(given["messages"]) + sum(map(_tokens, blocks))


def count_emulated_output(blocks: list[dict[str, Any]]) -> int:
    return sum(map(_tokens, blocks))


def _tokens(block: dict[str, Any]) -> int:
    text = block.get("text")
    return emulated_token_count(text if isinstance(text, str) else json.dumps(block, sort_keys=True))


def emulated_message_events(message: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """Return the events of a streamed message, with a ping in between: text word by word, inputs in fragments."""
    begun = message | {"content": [], "stop_reason": None, "usage": message["usage"] | {"output_tokens": 1}}
    events: list[tuple[str, dict[str, Any]]] = [("message_start", {"message": begun}), ("ping", {})]
    for index, block in enumerate(message["content"]):
        if block["type"] == "text":
            start: dict[str, Any] = {"type": "text", "text": "", "citations": None}
            deltas = [{"type": "text_delta", "text": word} for word in re.findall(r"\s*\S+|\s+$", block["text"])]
        else:
            start, written = block | {"input": {}}, json.dumps(block["input"])
            parts = [written[place : place + 5] for place in range(0, len(written), 5)]
            deltas = [{"type": "input_json_delta", "partial_json": part} for part in parts]
        events.append(("content_block_start", {"index": index, "content_block": start}))
        events += [("content_block_delta", {"index": index, "delta": delta}) for delta in deltas]
        events.append(("content_block_stop", {"index": index}))
    delta = {"stop_reason": message["stop_reason"], "stop_sequence": message["stop_sequence"]}
    events.append(("message_delta", {"delta": delta, "usage": {"output_tokens": message["usage"]["output_tokens"]}}))
    return [*events, ("message_stop", {})]
