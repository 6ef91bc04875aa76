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
MOST_MARKS = 4
_ID, _NAME = re.compile(r"^[a-zA-Z0-9_-]+$"), re.compile(r"^[a-zA-Z0-9_-]{1,128}$")
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
    older = models[given["model"]]["sampling"]
    for name in SAMPLING:
        if name in given and given[name] != 1 and not older:
            raise EmulatedMessageRefusal(f"`{name}` is deprecated for this model.")
    if not 0 <= given.get("temperature", 0) <= 1:
        raise EmulatedMessageRefusal("temperature: range: 0..1")
    if "temperature" in given and "top_p" in given:
        raise EmulatedMessageRefusal(
            "`temperature` and `top_p` cannot both be specified for this model. Please use only one."
        )
    if not all(stop.strip() for stop in given.get("stop_sequences") or ()):
        raise EmulatedMessageRefusal("stop_sequences: each stop sequence must contain non-whitespace")
    if not given["messages"]:
        raise EmulatedMessageRefusal("messages: at least one message is required")
    _refuse_tools(given, models[given["model"]]["forced_tools"])
    _refuse_texts("system", emulated_blocks({"content": given.get("system") or []}))
    _refuse_turns(given["messages"])
    last = given["messages"][-1]
    if last["role"] == "assistant" and not older:
        raise EmulatedMessageRefusal(
            "This model does not support assistant message prefill. The conversation must end with a user message."
        )
    if last["role"] == "assistant" and emulated_last_text(given) != emulated_last_text(given).rstrip():
        raise EmulatedMessageRefusal("messages: final assistant content cannot end with trailing whitespace")
    blocks = [*(given.get("tools") or ()), *emulated_blocks({"content": given.get("system") or []})]
    blocks += [block for turn in given["messages"] for block in emulated_blocks(turn)]
    if (marks := sum(CACHED_BLOCK in block for block in blocks)) > MOST_MARKS:
        raise EmulatedMessageRefusal(
            f"A maximum of {MOST_MARKS} blocks with cache_control may be provided. Found {marks}."
        )


def _refuse_tools(given: dict[str, Any], forced: bool) -> None:
    for number, tool in enumerate(given.get("tools") or ()):
        if not _NAME.fullmatch(tool.get("name", "")):
            raise EmulatedMessageRefusal(f"tools.{number}.custom.name: String should match pattern '{_NAME.pattern}'")
        if tool.get("input_schema", {}).get("type") != "object":
            raise EmulatedMessageRefusal(f"tools.{number}.custom.input_schema.type: Field required")
    if (given.get("tool_choice") or {}).get("type") in ("any", "tool") and not forced:
        raise EmulatedMessageRefusal("tool_choice: forced tool use is not supported for this model.")


def _refuse_texts(field: str, blocks: list[dict[str, Any]]) -> None:
    for block in blocks:
        if block["type"] == "text" and not block["text"].strip():
            rule = "contain non-whitespace text" if block["text"] else "be non-empty"
            raise EmulatedMessageRefusal(f"{field}: text content blocks must {rule}")


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
        _refuse_texts("messages", blocks)
        for place, block in enumerate(blocks):
            if block["type"] == "tool_use" and not _ID.fullmatch(block["id"]):
                raise EmulatedMessageRefusal(
                    f"messages.{number}.content.{place}.tool_use.id: String should match pattern '{_ID.pattern}'"
                )
        called = {block["id"] for block in blocks if block["type"] == "tool_use"}
    if called:
        raise EmulatedMessageRefusal("messages: the last `tool_use` has no `tool_result`")


def emulated_blocks(turn: dict[str, Any]) -> list[dict[str, Any]]:
    content = turn["content"]
    return [{"type": "text", "text": content}] if isinstance(content, str) else content


def emulated_last_text(given: dict[str, Any]) -> str:
    """Return the text of the last turn, with that of results."""
    return "".join(block.get("text") or "" for block in emulated_blocks(given["messages"][-1]))


def emulated_answer_blocks(
    given: dict[str, Any], said: str | None, number: str
) -> tuple[list[dict[str, Any]], str, str | None]:
    """Return the blocks of the answer, why it stops, and the stop sequence that ended it: the text `said`, or a call if
    a tool has to be called."""
    choice = given.get("tool_choice") or {}
    if said is None and choice.get("type") in ("any", "tool"):
        name = choice.get("name") or given["tools"][0]["name"]
        return (
            [{"type": "tool_use", "id": f"toolu_{number}", "name": name, "input": {"place": "Ulm"}}],
            "tool_use",
            None,
        )
    reply, reason = limit_emulated_answer({"content": BASE_ANSWER if said is None else said}, given["max_tokens"])
    text = reply["content"]
    found = [(place, stop) for stop in given.get("stop_sequences") or () if (place := text.find(stop)) >= 0]
    if found:
        place, stop = min(found)
        return [{"type": "text", "text": text[:place]}], "stop_sequence", stop
    return [{"type": "text", "text": text}], STOPS[reason], None


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
