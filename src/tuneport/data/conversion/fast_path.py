"""The fast way through a conversion: many rows at once, if all are chats of nothing but roles and text.

Most datasets are. Rows are decoded into the structs below and encoded from them, without a `Record` between. What a
struct does not fit exactly is not plain: the rows then go one by one through their formats, which alone decide what is
wrong or lost. `tests/data/conversion/test_fast_path.py` holds both ways to the same bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Literal, NamedTuple

import msgspec

from tuneport.data.rows.repeated_keys import hidden_quote


class _NotPlain(Exception):
    pass


class _Turn(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    role: Literal["system", "user", "assistant"]
    content: str


class _OpenAI(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    messages: list[_Turn]


class _Alpaca(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    instruction: str
    output: str
    input: str | msgspec.UnsetType = msgspec.UNSET


class _PromptCompletion(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    prompt: str
    completion: str


class _ShareGPTTurn(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    from_: Literal["system", "human", "gpt"] = msgspec.field(name="from")
    value: str


class _ShareGPT(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    conversations: list[_ShareGPTTurn]


class _AlpacaOut(msgspec.Struct, omit_defaults=True, gc=False):
    instruction: str
    input: str
    output: str
    system: str | None = None
    history: list[tuple[str, str]] = []


_TO_SHAREGPT = {"system": "system", "user": "human", "assistant": "gpt"}
_FROM_SHAREGPT = {speaker: role for role, speaker in _TO_SHAREGPT.items()}


def _answered(turns: list[_Turn]) -> list[_Turn]:
    for turn in turns:
        if turn.role == "assistant":
            return turns
    raise _NotPlain


def _read_openai(row: _OpenAI) -> list[_Turn]:
    return _answered(row.messages)


def _read_alpaca(row: _Alpaca) -> list[_Turn]:
    question = row.instruction
    if row.input:
        question = f"{question}\n{row.input}" if question else row.input
    return [_Turn("user", question), _Turn("assistant", row.output)]


def _read_prompt_completion(row: _PromptCompletion) -> list[_Turn]:
    return [_Turn("user", row.prompt), _Turn("assistant", row.completion)]


def _read_sharegpt(row: _ShareGPT) -> list[_Turn]:
    return _answered([_Turn(_FROM_SHAREGPT[turn.from_], turn.value) for turn in row.conversations])  # type: ignore[arg-type]


def _write_alpaca(turns: list[_Turn]) -> _AlpacaOut:
    system = None
    if turns[0].role == "system":
        system, turns = turns[0].content, turns[1:]
    pairs = []
    for question, answer in zip(turns[::2], turns[1::2], strict=False):
        if question.role != "user" or answer.role != "assistant":
            raise _NotPlain
        pairs.append((question.content, answer.content))
    if system == "" or not pairs or len(turns) % 2:
        raise _NotPlain
    return _AlpacaOut(pairs[-1][0], "", pairs[-1][1], system, pairs[:-1])


def _write_prompt_completion(turns: list[_Turn]) -> _PromptCompletion:
    if len(turns) != 2 or turns[0].role != "user" or turns[1].role != "assistant":
        raise _NotPlain
    return _PromptCompletion(turns[0].content, turns[1].content)


def _write_sharegpt(turns: list[_Turn]) -> _ShareGPT:
    return _ShareGPT([_ShareGPTTurn(_TO_SHAREGPT[turn.role], turn.content) for turn in turns])  # type: ignore[arg-type]


_READERS: dict[str, tuple[Any, Callable[[Any], list[_Turn]]]] = {
    "openai": (_OpenAI, _read_openai),
    "alpaca": (_Alpaca, _read_alpaca),
    "prompt-completion": (_PromptCompletion, _read_prompt_completion),
    "sharegpt": (_ShareGPT, _read_sharegpt),
}
_WRITERS: dict[str, Callable[[list[_Turn]], Any]] = {
    "openai": _OpenAI,
    "alpaca": _write_alpaca,
    "prompt-completion": _write_prompt_completion,
    "sharegpt": _write_sharegpt,
}


def _around_turns(rows: list[Any]) -> int:
    return sum([2 + 8 * len(row.messages if type(row) is _OpenAI else row.conversations) for row in rows])


def _around_alpaca(rows: list[Any]) -> int:
    return sum([8 if row.input is msgspec.UNSET else 12 for row in rows])


def _around_alpaca_out(rows: list[Any]) -> int:
    return sum([12 + 4 * (row.system is not None) + (2 + 4 * len(row.history) if row.history else 0) for row in rows])


_AROUND: dict[type, Callable[[list[Any]], int]] = {
    _OpenAI: _around_turns,
    _ShareGPT: _around_turns,
    _PromptCompletion: lambda rows: 8 * len(rows),
    _Alpaca: _around_alpaca,
    _AlpacaOut: _around_alpaca_out,
}
"""How many quotes stand around the keys and texts of rows."""


class ConvertedLines(NamedTuple):
    """Lines of JSON, one for each row, or None if not all rows are plain; how many; and whether the source's
    `note_row_spelling` has something to say on any of them."""

    lines: bytes | None
    rows: int = 0
    noteworthy: bool = False


class PlainRowConverter:
    """Converts rows of one format into another, as long as they are plain."""

    def __init__(self, source: str, target: str) -> None:
        self.possible = source in _READERS and target in _WRITERS
        if self.possible:
            self._kind, self._read = _READERS[source]
            self._write = _WRITERS[target]
            self._decode = msgspec.json.Decoder(self._kind).decode
            self._encode = msgspec.json.Encoder().encode_lines

    def convert(self, rows: Iterable[bytes], text: bytes) -> ConvertedLines:
        """Convert `text`, all the rows together. Space around a row is not part of it."""
        if not self.possible:
            return ConvertedLines(None)
        read, write = self._read, self._write
        try:
            decoded: list[Any] = list(map(self._decode, rows))
            written = [write(read(row)) for row in decoded]
            lines = self._encode(written)
            if not _all_written(text, decoded, lines, written):
                return ConvertedLines(None)
            return ConvertedLines(lines, len(decoded), self._kind is _Alpaca and any([row.input for row in decoded]))
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, _NotPlain):
            return ConvertedLines(None)


def _all_written(text: bytes, decoded: list[Any], lines: bytes, written: list[Any]) -> bool:
    """Return whether no object has a key twice, because the decoder drops one (see `repeated_keys`): both sides must
    have the same number of quotes within texts."""
    within = text.count(b'"') - _AROUND[type(decoded[0])](decoded)
    if not within:
        return True
    return not hidden_quote(text) and within == lines.count(b'"') - _AROUND[type(written[0])](written)
