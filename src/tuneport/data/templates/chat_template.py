"""A tokenizer's chat template: what it can show, and messages in the shape it takes.

Templates differ in what they drop without a word: tools, tool calls, reasoning, a system prompt. Each ability is tried
once on a small conversation; what a template cannot show is written into the text instead, and `notes` says so.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import Any

import msgspec

from tuneport.data.rows.records import Message, Tool, ToolCall
from tuneport.data.templates.limits import (
    MOST_SECONDS,
    BoundedRendering,
    TemplateLimitError,
    refuse_long_rendering,
    refuse_template_powers,
)
from tuneport.errors import UnsupportedError

_MARK = "tuneport_probe_7431"

# The wording that Hermes and Qwen models were trained on, so that a model may know it already.
_TOOLS_PROMPT = """# Tools

You may call one or more functions to assist with the user query.

You are provided with function signatures within <tools></tools> XML tags:
<tools>
{tools}
</tools>

For each function call, return a json object with function name and arguments within <tool_call></tool_call> XML tags:
<tool_call>{{"name": <function-name>, "arguments": <args-json-object>}}</tool_call>"""


class ChatTemplate:
    """Renders conversations to text. `notes` grows by one line for each thing that is written in another way.

    `most_seconds`: the processor's, for one conversation.
    """

    def __init__(self, tokenizer: Any, *, most_seconds: float = MOST_SECONDS) -> None:
        if not getattr(tokenizer, "chat_template", None):
            raise UnsupportedError(
                "the base model's tokenizer has no chat template, so conversations cannot be shown to it; "
                "use an instruction-tuned model, or prompt-completion data"
            )
        from tuneport.data.templates.environment import bound_template_calls  # jinja2 comes with the models

        refuse_template_powers(tokenizer.chat_template)
        bound_template_calls()
        self._tokenizer, self._most_seconds = tokenizer, most_seconds
        self.notes: list[str] = []

    def render(self, messages: Sequence[Message], tools: Sequence[Tool] = (), *, prompt: bool = False) -> str:
        """Return the conversation as text; with `prompt`, up to where the assistant's answer begins.

        Raises UnsupportedError if the template refuses the conversation, or takes more than `template_limits` allows.
        """
        shaped = self.shape(messages, tools)
        definitions = [_definition(tool) for tool in tools] if tools and self.shows_tools else None
        try:
            return self._apply(shaped, definitions, prompt)
        except TemplateLimitError:
            raise
        except Exception as error:  # a template is a program of its own: it may raise anything
            raise UnsupportedError(f"the model's chat template refuses the conversation: {_one_line(error)}") from error

    def shape(self, messages: Sequence[Message], tools: Sequence[Tool] = ()) -> list[dict[str, Any]]:
        """Return messages as the template takes them. What it cannot show becomes part of their text."""
        in_text = bool(tools or any(m.tool_calls or m.role == "tool" for m in messages)) and not self.shows_tools
        shaped: list[dict[str, Any]] = []
        names = _call_names(messages)
        for message in messages:
            row = self._shape_one(message, in_text=in_text, names_of_calls=names)
            if in_text and message.role == "tool" and shaped and shaped[-1].get("tool_results"):
                shaped[-1]["content"] += "\n" + row["content"]  # one turn for results that came together
            else:
                shaped.append(row)
        for row in shaped:
            row.pop("tool_results", None)
        if in_text:
            self._note("the chat template cannot show tools: they are written as text, calls as <tool_call>{json}")
            if tools:
                _prepend_system(shaped, _tools_prompt(tools))
        if shaped and shaped[0]["role"] == "system" and not self.shows_system:
            self._note("the chat template has no system role: the system prompt opens the first user message")
            _merge_system(shaped)
        return shaped

    @cached_property
    def shows_tools(self) -> bool:
        """Return whether definitions, calls and results all appear in the text."""
        call = ToolCall(f"call_{_MARK}", json.dumps({"city": f"argument_{_MARK}"}), "abcdefghi")
        messages: list[dict[str, Any]] = [
            {"role": "user", "content": "Hi"},
            {"role": "assistant", "content": "", "tool_calls": [_call(call)]},
            {"role": "tool", "content": f"result_{_MARK}", "tool_call_id": "abcdefghi", "name": call.name},
        ]
        definition = _definition(Tool(f"tool_{_MARK}", "Probe.", {"type": "object", "properties": {}}))
        shown = self._try(messages, [definition])
        return all(f"{part}_{_MARK}" in shown for part in ("tool", "call", "argument", "result"))

    @cached_property
    def shows_reasoning(self) -> bool:
        answer = {"role": "assistant", "content": "Hello", "reasoning_content": _MARK}
        return _MARK in self._try([{"role": "user", "content": "Hi"}, answer])

    @cached_property
    def shows_system(self) -> bool:
        return _MARK in self._try([{"role": "system", "content": _MARK}, {"role": "user", "content": "Hi"}])

    def _shape_one(self, message: Message, *, in_text: bool, names_of_calls: Mapping[str, str]) -> dict[str, Any]:
        role = "system" if message.role == "developer" else message.role
        content = message.text
        if message.content is None and isinstance(message.extra.get("refusal"), str):
            content = message.extra["refusal"]
        row: dict[str, Any] = {"role": role, "content": content}
        if message.name is not None and role != "tool":
            self._note("names of participants are not shown to the model: chat templates have no place for them")
        if message.reasoning is not None:
            if self.shows_reasoning:
                row["reasoning_content"] = message.reasoning
            else:
                self._note("the chat template cannot show reasoning: it is written before the answer in <think> tags")
                row["content"] = f"<think>\n{message.reasoning}\n</think>\n\n{row['content']}"
        if message.tool_calls and in_text:
            calls = "\n".join(_call_text(call) for call in message.tool_calls)
            row["content"] = f"{row['content']}\n{calls}" if row["content"] else calls
        elif message.tool_calls:
            row["tool_calls"] = [_call(call) for call in message.tool_calls]
        if role == "tool" and in_text:
            return {
                "role": "user",
                "content": f"<tool_response>\n{content}\n</tool_response>",
                "tool_results": True,
            }
        if role == "tool":
            name = message.name or names_of_calls.get(message.tool_call_id or "")
            row |= {"tool_call_id": message.tool_call_id} if message.tool_call_id else {}
            row |= {"name": name} if name else {}
        return row

    def _note(self, text: str) -> None:
        if text not in self.notes:
            self.notes.append(text)

    def _try(self, messages: list[dict[str, Any]], tools: list[dict[str, Any]] | None = None) -> str:
        try:
            return self._apply(messages, tools, prompt=False)
        except TemplateLimitError:
            raise
        except Exception:  # refusing the probe is an answer too
            return ""

    def _apply(self, messages: list[dict[str, Any]], tools: list[dict[str, Any]] | None, prompt: bool) -> str:
        apply: Callable[..., Any] = self._tokenizer.apply_chat_template
        with BoundedRendering(most_seconds=self._most_seconds):
            text = str(apply(messages, tools=tools, tokenize=False, add_generation_prompt=prompt))
        refuse_long_rendering(text, [messages, tools])
        return text


def _definition(tool: Tool) -> dict[str, Any]:
    function: dict[str, Any] = {"name": tool.name, "description": tool.description or ""}
    function["parameters"] = tool.parameters or {"type": "object", "properties": {}}
    return {"type": "function", "function": function}


def _call(call: ToolCall) -> dict[str, Any]:
    """Return the call for the template. Templates write arguments themselves, so they need an object; other text is
    passed unchanged."""
    row: dict[str, Any] = {"type": "function", "function": {"name": call.name, "arguments": _arguments(call)}}
    return row | ({"id": call.id} if call.id else {})


def _call_text(call: ToolCall) -> str:
    # The spelling of the arguments stays: that is what is trained on.
    arguments = call.arguments if isinstance(_arguments(call), dict) else json.dumps(call.arguments)
    return f'<tool_call>{{"name": {json.dumps(call.name)}, "arguments": {arguments}}}</tool_call>'


def _arguments(call: ToolCall) -> Any:
    try:
        value = msgspec.json.decode(call.arguments)
    except msgspec.DecodeError:
        return call.arguments
    return value if isinstance(value, dict) else call.arguments


def _call_names(messages: Sequence[Message]) -> dict[str, str]:
    return {call.id: call.name for message in messages for call in message.tool_calls if call.id}


def _tools_prompt(tools: Sequence[Tool]) -> str:
    return _TOOLS_PROMPT.format(tools="\n".join(json.dumps(_definition(tool)) for tool in tools))


def _prepend_system(shaped: list[dict[str, Any]], text: str) -> None:
    """Append the text to the system prompt, as Qwen's template does; else make it a system prompt of its own."""
    if shaped and shaped[0]["role"] == "system":
        shaped[0]["content"] += "\n\n" + text
    else:
        shaped.insert(0, {"role": "system", "content": text})


def _merge_system(shaped: list[dict[str, Any]]) -> None:
    system = shaped.pop(0)["content"]
    if shaped and shaped[0]["role"] == "user":
        shaped[0]["content"] = f"{system}\n\n{shaped[0]['content']}"
    else:
        shaped.insert(0, {"role": "user", "content": system})


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
