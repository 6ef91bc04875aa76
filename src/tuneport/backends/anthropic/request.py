"""A chat in OpenAI's words as a request of Anthropic's Messages API.

| OpenAI's | Anthropic's |
| --- | --- |
| messages of system and developer at the head | system |
| neighbours of one role, and results of tools | one turn: user and assistant alternate |
| images, inline or by URL | the same |
| tools, tool_choice, parallel_tool_calls | tools, tool_choice, disable_parallel_tool_use |
| max_tokens, max_completion_tokens | max_tokens, which is required: 4,096 unless given |
| stop | stop_sequences |
| temperature (0 to 2), top_p, top_k | the same (at most 1), by models that take them; temperature or top_p, not both |
| response_format json_schema | output_config.format |
| reasoning_effort | output_config.effort |
| user | metadata.user_id |

Whatever else an option asks for, or a message holds, is refused by its name.
"""

from __future__ import annotations

import hashlib
import logging
import re
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import msgspec

from tuneport.data.formats.anthropic.blocks import ID_PREFIX, AnthropicTurnWriter
from tuneport.data.formats.contract import NO_PARAMETERS, RecordProblems, Unrepresentable
from tuneport.data.formats.openai.messages import check_openai_tool_results, read_openai_messages
from tuneport.data.formats.shared.tools import (
    add_message_call_ids,
    has_message_tool_calls,
    read_format_tools,
    write_format_tool,
)
from tuneport.data.rows.records import ImagePart, Message, TextPart
from tuneport.errors import RejectedError, UnsupportedError
from tuneport.manifests import OfferedModel

MAX_TOKENS = 4096
SAMPLING = ("temperature", "top_p", "top_k")
COUNTED = ("model", "messages", "system", "tools", "tool_choice", "output_config")
"""What a request for a count of tokens has of a message's."""
_NEUTRAL: Mapping[str, tuple[Any, ...]] = {
    "n": (1,),
    "frequency_penalty": (0,),
    "presence_penalty": (0,),
    "logprobs": (False,),
    "store": (False,),
    "stream_options": ({"include_usage": True}, {"include_usage": False}),
    "response_format": ({"type": "text"},),
    "logit_bias": ({},),
    "top_p": (1,),
}
"""Options that the API does not have, with the values that ask for nothing."""
_EFFORTS = ("low", "medium", "high", "xhigh", "max")
_CALL_ID = re.compile(r"[a-zA-Z0-9_-]+")
_HEAD = ("system", "developer")
_NO_LOSS = ("messages[].weight",)
"""What only training asks for."""

_log = logging.getLogger(__name__)


def build_message_request(
    provider: str,
    model: str,
    facts: OfferedModel | None,
    messages: Sequence[Mapping[str, Any]],
    options: Mapping[str, Any],
) -> dict[str, Any]:
    """Return the body of the request. `facts` are the manifest's of this model, None for one that it does not list,
    which counts as newer than those.

    Raises UnsupportedError that names an option which the API does not have, and RejectedError that names what a
    message holds and the API does not take.
    """
    rest = {name: value for name, value in options.items() if value is not None}
    limit = rest.pop("max_tokens", MAX_TOKENS)
    limit = rest.pop("max_completion_tokens", limit)
    request: dict[str, Any] = {"model": model, "max_tokens": limit, **_conversation(provider, messages)}
    if (stop := rest.pop("stop", None)) is not None:
        request["stop_sequences"] = [stop] if isinstance(stop, str) else list(stop)
    if (user := rest.pop("user", None)) is not None:
        request["metadata"] = {"user_id": user}
    request |= _tools(provider, rest) | _output(provider, rest) | _sampling(provider, model, facts, rest)
    for name, value in rest.items():
        if value not in _NEUTRAL.get(name, ()):
            raise UnsupportedError(f"the backend {provider} does not take {name} for a chat", param=name)
    return request


def _conversation(provider: str, messages: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    problems, lost = RecordProblems(), list[Unrepresentable]()
    read = read_openai_messages(messages, "messages", problems)
    if not problems:
        check_openai_tool_results(read, "messages", problems)
    for problem in problems:
        raise RejectedError(
            f"{provider} is not asked: {problem.field} {problem.rule}; {problem.fix}", provider=provider
        )
    head = next((place for place, message in enumerate(read) if message.role not in _HEAD), len(read))
    for place, message in enumerate(read):
        if place >= head and message.role in _HEAD:
            raise _refused(provider, f"messages[{place}].role", "a system prompt stands before the conversation")
        for name in message.extra:
            raise _refused(provider, f"messages[{place}].{name}", "its messages have no such field")
        if message.reasoning is not None:
            raise _refused(provider, f"messages[{place}].reasoning", "it takes only thoughts that it has signed itself")
    writer = AnthropicTurnWriter(lost)
    system = [
        block for message in read[:head] for block in _blocks(writer.system(message)) if block.get("text", "x").strip()
    ]
    if any(block["type"] != "text" for block in system):
        raise _refused(provider, "messages[].content", "a system prompt has no images")
    turns = add_message_call_ids(read[head:], ID_PREFIX, lost) if has_message_tool_calls(read) else read[head:]
    for message in turns:
        writer.add(_as_taken(message))
    for loss in lost:
        if loss.field not in _NO_LOSS:
            raise _refused(provider, loss.field, loss.reason)
    if not writer.turns:
        raise _refused(provider, "messages", "there is no message of a user")
    conversation: dict[str, Any] = msgspec.json.decode(msgspec.json.encode({"messages": writer.turns}))
    return {"system": system, **conversation} if system else conversation


def _as_taken(message: Message) -> Message:
    """Return the message without what OpenAI writes and means nothing: the empty text beside calls or other parts,
    which the API refuses, the tool's name beside its call's id, and the detail `auto` of an image. Ids of calls get
    the characters that the API takes."""
    changes: dict[str, Any] = {}
    if message.tool_calls:
        changes["tool_calls"] = [msgspec.structs.replace(call, id=_call_id(call.id)) for call in message.tool_calls]
        if not message.content:
            changes["content"] = None
    if isinstance(message.content, list):
        said = [part for part in message.content if not isinstance(part, TextPart) or part.text]
        changes["content"] = [
            msgspec.structs.replace(part, detail=None)
            if isinstance(part, ImagePart) and part.detail == "auto"
            else part
            for part in said or message.content
        ]
    if message.role == "tool":
        changes |= {"name": None, "tool_call_id": _call_id(message.tool_call_id)}
    return msgspec.structs.replace(message, **changes) if changes else message


def _call_id(given: str | None) -> str | None:
    """Return the id of a call, which other providers make of more characters (`functions.weather:0`), as one of the
    API's; equal ids stay equal."""
    if given is None or _CALL_ID.fullmatch(given):
        return given
    return f"{ID_PREFIX}{hashlib.sha256(given.encode()).hexdigest()[:24]}"


def _blocks(content: str | list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{"type": "text", "text": content}] if isinstance(content, str) else content


def _refused(provider: str, field: str, reason: str) -> RejectedError:
    return RejectedError(f"{provider} is not asked: it cannot take {field}: {reason}", provider=provider)


def _tools(provider: str, rest: dict[str, Any]) -> dict[str, Any]:
    """Return the definitions of tools and which of them are to be called; takes them out of `rest`."""
    given, choice = rest.pop("tools", None), rest.pop("tool_choice", None)
    parallel = rest.pop("parallel_tool_calls", True)
    if not given:
        return {}
    problems, lost = RecordProblems(), list[Unrepresentable]()
    tools = read_format_tools(given, problems)
    for problem in problems:
        raise UnsupportedError(f"{provider} is not asked: {problem.field} {problem.rule}; {problem.fix}", param="tools")
    rows = [write_format_tool(tool, lost, schema_key="input_schema") for tool in tools]
    for row in rows:
        row["input_schema"] = NO_PARAMETERS | row.get("input_schema", {})
    for loss in lost:
        raise UnsupportedError(f"{provider} is not asked: it cannot take {loss.field}: {loss.reason}", param="tools")
    chosen: dict[str, Any] = {"type": {"required": "any"}.get(choice, choice) if isinstance(choice, str) else "auto"}
    if isinstance(choice, dict):
        name = choice.get("function", {}).get("name")
        if choice.get("type") != "function" or not name:
            raise UnsupportedError(f"the backend {provider} does not take this tool_choice", param="tool_choice")
        chosen = {"type": "tool", "name": name}
    if not parallel and chosen["type"] != "none":
        chosen["disable_parallel_tool_use"] = True
    return {"tools": rows} if chosen == {"type": "auto"} else {"tools": rows, "tool_choice": chosen}


def _output(provider: str, rest: dict[str, Any]) -> dict[str, Any]:
    """Return the answer's format and effort, taken out of `rest`."""
    config: dict[str, Any] = {}
    form = rest.get("response_format")
    if isinstance(form, dict) and form.get("type") == "json_schema":
        rest.pop("response_format")
        config["format"] = {"type": "json_schema", "schema": form.get("json_schema", {}).get("schema") or {}}
    if (effort := rest.pop("reasoning_effort", None)) is not None:
        if effort not in _EFFORTS:
            raise UnsupportedError(
                f"the backend {provider} has no reasoning_effort {effort}; it has {', '.join(_EFFORTS)}",
                param="reasoning_effort",
            )
        config["effort"] = effort
    return {"output_config": config} if config else {}


def _sampling(provider: str, model: str, facts: OfferedModel | None, rest: dict[str, Any]) -> dict[str, Any]:
    """Return the sampling parameters; takes them out of `rest`.

    A temperature is left out, and the log says so, if the model takes none: evaluations always ask for 0. OpenAI's goes
    up to 2; what is above 1 is 1. Of temperature and top_p the API takes one; 1, which both are if left out, is not
    sent beside the other.
    """
    found = {name: rest.pop(name) for name in SAMPLING if name in rest and rest[name] not in _NEUTRAL.get(name, ())}
    if "top_p" in found and found.get("temperature") == 1:
        del found["temperature"]
    if facts is not None and facts.takes_sampling:
        if "temperature" in found and "top_p" in found:
            raise UnsupportedError(
                f"{model} at {provider} takes temperature or top_p, not both; leave one out", param="top_p"
            )
        return found | ({"temperature": min(1.0, found["temperature"])} if "temperature" in found else {})
    for name in found:
        if name != "temperature":
            raise UnsupportedError(f"{model} at {provider} takes no {name}; leave it out", param=name)
    if found:
        _log_left_out(provider, model)
    return {}


@cache
def _log_left_out(provider: str, model: str) -> None:
    _log.info("%s at %s takes no temperature: it is left out", model, provider)
