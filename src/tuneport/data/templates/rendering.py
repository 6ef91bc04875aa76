"""Renders a record as the model sees it: token ids, and which of them are trained on.

Training, inference and `preview` all render here, so that a prompt is the same tokens in each. The loss covers what the
assistant writes: the text of its turns with the end-of-turn token, not the template's words around them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from tuneport.data.formats.openai.messages import write_openai_messages
from tuneport.data.rows.prompt_only import record_as_prompt
from tuneport.data.rows.records import (
    Chat,
    Graded,
    Labelled,
    Message,
    PlainText,
    Preference,
    PromptCompletion,
    Record,
    Tool,
)
from tuneport.data.templates.chat_template import ChatTemplate
from tuneport.errors import DatasetError, DatasetProblem, UnsupportedError
from tuneport.types import LossOn, Method

IGNORED = -100
"""The label of a token that is not trained on, as transformers and TRL spell it."""

MAX_PROBLEMS = 50
LINES_IN_NOTE = 5


@dataclass(frozen=True)
class RenderedExample:
    """`labels` is `input_ids` where trained on, else IGNORED. `spans` are the trained characters of `text`.

    Text and spans are of the whole record, the tokens without the `cut` ones at its end that were over the limit.
    """

    input_ids: list[int]
    labels: list[int]
    text: str
    spans: list[tuple[int, int]]
    cut: int = 0

    @property
    def useful_length(self) -> int:
        """Return the number of tokens up to the last trained one: nothing after it has any effect on training."""
        return max(index for index, label in enumerate(self.labels) if label != IGNORED) + 1

    @property
    def trained_tokens(self) -> int:
        return sum(label != IGNORED for label in self.labels)


@dataclass(frozen=True)
class RenderedPreference:
    """One prompt and two answers, each ending with the end-of-turn token unless it was over the limit by `cut`."""

    prompt_ids: list[int]
    chosen_ids: list[int]
    rejected_ids: list[int]
    cut: int = 0


@dataclass(frozen=True)
class RenderedAnswer:
    """One prompt, one answer, and whether it is a good one."""

    prompt_ids: list[int]
    completion_ids: list[int]
    label: bool
    cut: int = 0


@dataclass(frozen=True)
class RenderedPrompt:
    """A question that the model answers itself; `messages` (in OpenAI's shape) and `columns` are what judges see."""

    prompt_ids: list[int]
    messages: list[dict[str, Any]]
    columns: dict[str, Any]
    record: Graded
    cut: int = 0


class _Refused(Exception):
    """An error in one record: field, rule, fix."""


class TemplateRenderer:
    """Renders records for one tokenizer.

    A record of more than `max_length` tokens is cut at the end, as OpenAI does; one that has nothing to train on within
    that limit is an error. `notes` tells which were cut, and what had to be written in another way than the record has
    it. `file` is their name of the rendered file, if there are several, and `words` their wording of a record's place.
    `loss_on` is which of a chat's answers are trained on, of those that do not weigh 0.
    """

    def __init__(self, tokenizer: Any, *, max_length: int | None = None, loss_on: LossOn = "assistant") -> None:
        self.tokenizer = tokenizer
        self.max_length = max_length
        self.loss_on = loss_on
        self.file = ""
        self.words: Callable[[Sequence[int]], str] = lambda lines: f"line {lines[0]}"
        self._cuts: dict[str, list[tuple[int, int]]] = {}

    @cached_property
    def template(self) -> ChatTemplate:
        return ChatTemplate(self.tokenizer)

    @property
    def notes(self) -> list[str]:
        notes = list(self.template.notes) if "template" in self.__dict__ else []
        for file, cuts in self._cuts.items():
            first = ", ".join(f"{self.words([line])} by {tokens:,}" for line, tokens in cuts[:LINES_IN_NOTE])
            more = ", ..." if len(cuts) > LINES_IN_NOTE else ""
            many = f"record{'s' if len(cuts) != 1 else ''}{f' of {file}' if file else ''}"
            limit = f"the limit of {self.max_length:,} tokens and cut at the end"
            notes.append(f"{len(cuts):,} {many} {'are' if len(cuts) != 1 else 'is'} over {limit}: {first}{more}")
        return notes

    def render(self, record: Record, *, path: str = "", line: int | None = None) -> RenderedExample:
        """Render a record. Raises DatasetError, with file and line, if it cannot be trained on; raises UnsupportedError
        for images."""
        return self.render_all([(line, record)], path=path)[0]

    def render_all(self, records: Iterable[tuple[int | None, Record]], *, path: str = "") -> list[RenderedExample]:
        """Render all records, or raise one DatasetError that names every bad line, up to MAX_PROBLEMS."""
        rendered = self._each(records, path, self._render)
        return [row for row in rendered if isinstance(row, RenderedExample)]

    def render_preferences(
        self, records: Iterable[tuple[int | None, Record]], *, path: str = ""
    ) -> list[RenderedPreference]:
        rendered = self._each(records, path, self._render_preference)
        return [row for row in rendered if isinstance(row, RenderedPreference)]

    def render_for(
        self, method: Method, records: Iterable[tuple[int | None, Record]], *, path: str = ""
    ) -> list[RenderedExample] | list[RenderedPreference] | list[RenderedAnswer] | list[RenderedPrompt]:
        """Render what the method trains on."""
        match method.traits.records:
            case "questions" | "graded":
                return self.render_prompts(records, path=path)
            case "pairs":
                return self.render_preferences(records, path=path)
            case "labelled":
                return self.render_labelled(records, path=path)
            case "chats":
                return self.render_all(records, path=path)

    def render_labelled(self, records: Iterable[tuple[int | None, Record]], *, path: str = "") -> list[RenderedAnswer]:
        rendered = self._each(records, path, self._render_labelled)
        return [row for row in rendered if isinstance(row, RenderedAnswer)]

    def render_prompts(self, records: Iterable[tuple[int | None, Record]], *, path: str = "") -> list[RenderedPrompt]:
        rendered = self._each(records, path, self._render_prompt)
        return [row for row in rendered if isinstance(row, RenderedPrompt)]

    def prompt_text(self, messages: Sequence[Message], tools: Sequence[Tool] = ()) -> str:
        """Return a conversation up to where the assistant's next answer begins."""
        return self.template.render(messages, tools, prompt=True)

    def prompt_ids(self, messages: Sequence[Message], tools: Sequence[Tool] = ()) -> list[int]:
        """Return the tokens of `prompt_text`, exactly those that `render` puts before that answer."""
        if any(message.has_image for message in messages):
            raise UnsupportedError("local models read text only, and a message holds an image; leave it out")
        text = self.prompt_text(messages, tools)
        spans = [(begin, end) for begin, end, _ in self._turns(messages, tools, text)]
        return self._encode(_pieces(text, spans))

    def answer_ids(self, text: str) -> list[int]:
        """Return the tokens of an answer and its end of turn, as `render` would put them after a prompt."""
        return self._encode([text + self.end_of_turn])

    @cached_property
    def end_of_turn(self) -> str:
        """Return the trained part of what the template writes after an answer."""
        text = self.template.render([Message("user", "Hi"), Message("assistant", "Hello")])
        answer = text[text.rindex("Hello") + len("Hello") :]
        return answer[: self._end(answer, 0, len(answer))]

    def _each(self, records: Iterable[tuple[int | None, Record]], path: str, render: Any) -> Iterator[Any]:
        problems: list[DatasetProblem] = []
        count = 0
        for line, record in records:
            try:
                row = render(record)
            except _Refused as refused:
                count += 1
                if len(problems) < MAX_PROBLEMS:
                    problems.append(DatasetProblem(path, line, *refused.args))
            except UnsupportedError as error:
                where = f"{path}:{line}: " if line is not None else ""
                raise UnsupportedError(f"{where}{error}") from error
            else:
                if row.cut and line is not None:
                    self._cuts.setdefault(self.file, []).append((line, row.cut))
                yield row
        if problems:
            raise DatasetError(problems, count=count)

    def _render(self, record: Record) -> RenderedExample:
        if record.weight not in (None, 1):
            raise UnsupportedError(f"the local trainer does not weigh records, and this one weighs {record.weight:g}")
        match record:
            case Chat():
                text, spans = self._chat(record.messages, record.tools, self.loss_on)
                pieces = _pieces(text, spans)
                if not spans:
                    raise self._nothing_trained(record.messages)
            case PromptCompletion():
                text, spans, pieces = self._flat(record.prompt, record.completion)
            case PlainText():
                text, spans, pieces = self._flat("", record.text)
            case _:
                kind = type(record).__name__
                raise UnsupportedError(f"a {kind} record cannot be used for supervised fine-tuning; choose its method")
        input_ids, labels = self._label(text, spans, pieces)
        labels[:1] = [IGNORED] * len(labels[:1])  # nothing before it predicts it
        limit = len(input_ids) if self.max_length is None else self.max_length
        if all(label == IGNORED for label in labels[:limit]):
            raise self._nothing_within(limit, len(input_ids))
        return RenderedExample(input_ids[:limit], labels[:limit], text, spans, cut=max(0, len(input_ids) - limit))

    def _render_preference(self, record: Record) -> RenderedPreference:
        if not isinstance(record, Preference):
            raise UnsupportedError(
                f"dpo and reward need preference pairs, and this is a {type(record).__name__} record; choose the "
                "method of the data"
            )
        if record.chosen == record.rejected:
            raise _Refused("", "chosen and rejected are the same answer", "remove the record")
        prompt = self.prompt_ids(record.context, record.tools)
        chosen, rejected = (
            self._continuation(record.context, answer, record.tools, prompt)
            for answer in (record.chosen, record.rejected)
        )
        length = len(prompt) + max(len(chosen), len(rejected))
        room = (length if self.max_length is None else self.max_length) - len(prompt)
        if room <= 0 or chosen[:room] == rejected[:room]:
            raise self._nothing_within(room + len(prompt), length)
        return RenderedPreference(prompt, chosen[:room], rejected[:room], cut=max(0, length - len(prompt) - room))

    def _render_labelled(self, record: Record) -> RenderedAnswer:
        if not isinstance(record, Labelled):
            raise UnsupportedError(
                f"kto needs answers that are marked good or bad, and this is a {type(record).__name__} record; choose "
                "the method of the data"
            )
        if not record.messages or record.messages[-1].role != "assistant":
            raise _Refused("messages", "the last message is not an answer", "end with an assistant message")
        prompt = self.prompt_ids(record.messages[:-1], record.tools)
        answer = self._continuation(record.messages[:-1], record.messages[-1:], record.tools, prompt)
        length = len(prompt) + len(answer)
        room = (length if self.max_length is None else self.max_length) - len(prompt)
        if room <= 0:
            raise self._nothing_within(room + len(prompt), length)
        return RenderedAnswer(prompt, answer[:room], record.label, cut=max(0, len(answer) - room))

    def _render_prompt(self, record: Record) -> RenderedPrompt:
        asked = record_as_prompt(record)
        if asked is None:
            raise UnsupportedError(
                f"a {type(record).__name__} record without a user's message before its last answer asks nothing that "
                "a model could answer; choose the method of the data"
            )
        prompt = self.prompt_ids(asked.messages, asked.tools)
        if self.max_length is not None and len(prompt) >= self.max_length:
            rule = f"has {len(prompt):,} tokens, which leaves no room for an answer within {self.max_length:,}"
            raise _Refused("messages", rule, "shorten it, raise max_length, or use a model with a longer context")
        return RenderedPrompt(prompt, write_openai_messages(asked.messages, []), dict(asked.reference), asked)

    def _continuation(
        self, context: list[Message], answer: list[Message], tools: Sequence[Tool], prompt: list[int]
    ) -> list[int]:
        text, spans = self._chat([*context, *answer], tools)
        begin = len(self.prompt_text(context, tools))
        own = [(start, end) for start, end in spans if start >= begin]
        if not own:
            raise _Refused("", "an answer holds no assistant message", "add it")
        pieces = _pieces(text[: own[-1][1]], spans)
        ids = self._encode(pieces)
        if ids[: len(prompt)] != prompt:
            raise UnsupportedError("the model's chat template renders the prompt otherwise once an answer follows it")
        return ids[len(prompt) :]

    def _nothing_trained(self, messages: Sequence[Message]) -> _Refused:
        first = _first_trained(messages, self.loss_on)
        if any(message.role == "assistant" for message in messages[first:]):
            which = "no assistant message is" if not first else f"with the loss on {self.loss_on}, no message is"
            rule = f"{which} trained on: all have weight 0"
            return _Refused("messages", rule, "give one of them the weight 1, or remove the record")
        rule = f"there is no assistant message to train on (the loss is on {self.loss_on})"
        return _Refused("messages", rule, "add one at the end, or set loss_on to assistant")

    def _chat(
        self, messages: Sequence[Message], tools: Sequence[Tool], loss_on: LossOn = "assistant"
    ) -> tuple[str, list[tuple[int, int]]]:
        for index, message in enumerate(messages):
            if message.has_image:
                raise UnsupportedError(f"messages[{index}] holds an image, and local training reads text only")
            if message.weight not in (None, 0, 1):
                raise UnsupportedError(f"messages[{index}].weight is {message.weight:g}; local training takes 0 or 1")
        text = self.template.render(messages, tools)
        first = _first_trained(messages, loss_on)
        turns = self._turns(messages, tools, text)
        return text, [(begin, end) for begin, end, at in turns if at >= first and messages[at].weight != 0]

    def _turns(self, messages: Sequence[Message], tools: Sequence[Tool], text: str) -> Iterator[tuple[int, int, int]]:
        """Yield where each assistant turn begins and ends in `text`, by rendering the conversation up to it; and its
        index.

        Raises UnsupportedError if a later message changes how the template renders earlier ones: then it is undefined
        which tokens are the answer.
        """
        for index, message in enumerate(messages):
            if message.role != "assistant":
                continue
            before = self.template.render(messages[:index], tools, prompt=True)
            if not text.startswith(before):
                raise UnsupportedError(
                    f"the tokens of messages[{index}] cannot be found: the chat template changes the conversation "
                    "before it once it is added; use a model with another template"
                )
            begin = len(before)
            if index == len(messages) - 1:
                upto = text
            else:
                upto = self.template.render(messages[: index + 1], tools)
            if text.startswith(upto):
                yield begin, self._end(text, begin, len(upto)), index
            else:
                yield begin, self._end_by_token(text, begin, index), index

    def _end(self, text: str, begin: int, end: int) -> int:
        """Return the end of a turn without what the template puts after its last token: inference stops before that."""
        found = [(at + len(token)) for token in self._end_tokens if (at := text.rfind(token, begin, end)) >= 0]
        if found and not text[max(found) : end].strip():
            return max(found)
        return end

    def _end_by_token(self, text: str, begin: int, index: int) -> int:
        """Find the end by its token, for templates that drop something (old reasoning) from turns that are not the
        last."""
        ends = [text.find(token, begin) + len(token) for token in self._end_tokens if text.find(token, begin) >= 0]
        if not ends:
            raise UnsupportedError(
                f"the tokens of messages[{index}] cannot be found: the chat template changes it once another message "
                "follows, and has no end-of-turn token; use a model with another template"
            )
        return min(ends)

    @cached_property
    def _end_tokens(self) -> list[str]:
        """Return the special tokens that may end a turn; longest first if one begins like another."""
        tokens = {self.tokenizer.eos_token, *getattr(self.tokenizer, "all_special_tokens", [])}
        added = getattr(self.tokenizer, "added_tokens_decoder", {}).values()
        tokens |= {token.content for token in added if token.special}
        return sorted((token for token in tokens if token), key=lambda token: (-len(token), token))

    def _flat(self, prompt: str, completion: str) -> tuple[str, list[tuple[int, int]], list[str]]:
        """Render without a template: the tokenizer's prefix, prompt, completion, end of sequence."""
        end = self.tokenizer.eos_token
        if not end:
            raise UnsupportedError("the base model's tokenizer has no end-of-sequence token; use another model")
        start = self.tokenizer.bos_token if self._adds_bos else ""
        completion += "" if completion.endswith(end) else end
        text = f"{start}{prompt}{completion}"
        begin = len(start) + len(prompt)
        return text, [(begin, len(text))], _pieces(text, [(begin, len(text))])

    @cached_property
    def _adds_bos(self) -> bool:
        bos = getattr(self.tokenizer, "bos_token_id", None)
        return bos is not None and self.tokenizer("a")["input_ids"][:1] == [bos]

    def _label(self, text: str, spans: list[tuple[int, int]], pieces: list[str]) -> tuple[list[int], list[int]]:
        """Return ids and labels. Each span is encoded by itself, so that a prompt's tokens do not depend on the answer.

        Tokenizers for which that changes the text (those that put a space before everything) are asked for offsets.
        """
        ids: list[int] = []
        labels: list[int] = []
        if not self._concatenates:
            encoded = self.tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
            ids = list(encoded["input_ids"])
            for token, (begin, end) in zip(ids, encoded["offset_mapping"], strict=True):
                trained = end > begin and any(begin < stop and end > start for start, stop in spans)
                labels.append(token if trained else IGNORED)
            return ids, labels
        position = 0
        for piece, piece_ids in zip(pieces, self._encode_each(pieces), strict=True):
            trained = (position, position + len(piece)) in spans
            ids += piece_ids
            labels += piece_ids if trained else [IGNORED] * len(piece_ids)
            position += len(piece)
        return ids, labels

    def _encode(self, pieces: Sequence[str]) -> list[int]:
        if not self._concatenates:
            return list(self.tokenizer("".join(pieces), add_special_tokens=False)["input_ids"])
        return [token for ids in self._encode_each(pieces) for token in ids]

    def _encode_each(self, pieces: Sequence[str]) -> list[list[int]]:
        return list(self.tokenizer(list(pieces), add_special_tokens=False)["input_ids"]) if pieces else []

    @cached_property
    def _concatenates(self) -> bool:
        """Return whether the tokens of two texts are the tokens of both together, as with byte-level tokenizers."""
        one, two = "assistant\n", "Paris is"
        both = self.tokenizer(one + two, add_special_tokens=False)["input_ids"]
        return list(both) == [token for ids in self._encode_each([one, two]) for token in ids]

    def _nothing_within(self, limit: int, tokens: int) -> _Refused:
        rule = f"has {tokens:,} tokens, and within the limit of {limit:,} there is nothing to train on"
        return _Refused("", rule, "shorten the prompt, raise max_length, or use a model with a longer context")


def _first_trained(messages: Sequence[Message], loss_on: LossOn) -> int:
    """Return the index of the first assistant's message that is in the loss."""
    match loss_on:
        case "assistant":
            return 0
        case "last":
            return max((at for at, message in enumerate(messages) if message.role == "assistant"), default=0)
    return 1 + max((at for at, message in enumerate(messages) if message.role == "user"), default=-1)


def _pieces(text: str, spans: Iterable[tuple[int, int]]) -> list[str]:
    """Return `text`, cut at both ends of each span."""
    cuts = [0, *(edge for span in spans for edge in span), len(text)]
    return [text[begin:end] for begin, end in zip(cuts, cuts[1:], strict=False) if end > begin]
