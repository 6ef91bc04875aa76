"""Replaces personal data by placeholders, the same value by the same placeholder throughout a dataset."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator
from copy import deepcopy
from hashlib import blake2b

import msgspec

from tuneport.data.pii.search import find_personal_data
from tuneport.data.pii.spans import ESCAPED_CHARACTER, SEPARATOR, blank_json_escapes, record_text_spans
from tuneport.data.rows.records import Record

MAX_NUMBERED = 1_000_000  # values of all kinds; some 130 MB
_ROUNDS = 5
_IGNORED = re.compile(r"[\s()./-]")

_Span = tuple[int, int, str]  # start, end, placeholder


class Redactor:
    """One for a dataset, whose records are handed to it in order.

    The first e-mail address becomes `[EMAIL_1]` wherever it stands again, whatever its letter case; a number is the
    same with or without its separators. Placeholders depend on the dataset alone: the same file gives the same ones.
    Memory is bounded: after `max_numbered` values, new ones are not kept but named by a digest under a key that is
    made of all the numbered values (`[EMAIL_x4f0c2d9a1b]`), so that they too are the same wherever they stand, and
    cannot be guessed by hashing candidates.
    """

    def __init__(self, max_numbered: int = MAX_NUMBERED) -> None:
        self._max = max_numbered
        self._numbers: dict[bytes, int] = {}
        self._counts: Counter[str] = Counter()
        self._seen = blake2b(digest_size=32)
        self._key: bytes | None = None

    def redact(self, record: Record) -> tuple[Record, Counter[str]]:
        """Return the record without what `find_personal_data` finds in it, and the number of replaced values by kind.

        The record itself is not changed; if nothing is found it is returned itself. Tool arguments that are JSON stay
        JSON: a number in them becomes a string. Redacting the result again changes nothing.
        """
        replaced: Counter[str] = Counter()
        if any([place.json and ESCAPED_CHARACTER.search(place.text) for place in record_text_spans(record)]):
            copy = deepcopy(record)
            record = copy if self._redact_escaped(copy, replaced) else record
        for _ in range(_ROUNDS):  # a shorter text can bring a word near to a number that was too far from it before
            texts = [(place.text, place.json) for place in record_text_spans(record)]
            spans = self._spans([blank_json_escapes(text) if is_json else text for text, is_json in texts], replaced)
            if not spans:
                break
            record = deepcopy(record)
            for index, place in enumerate(record_text_spans(record)):
                if index in spans:
                    put = _in_json if place.json else _put
                    place.write(put(texts[index][0], spans[index]))
        return record, replaced

    def _spans(self, texts: list[str], replaced: Counter[str]) -> dict[int, list[_Span]]:
        """Return the replacements by the index of the text. All texts are searched as one, so that one message ("your
        phone number?") is context for the next."""
        joined = SEPARATOR.join(texts)
        spans: dict[int, list[_Span]] = {}
        index, offset = 0, 0
        for match in find_personal_data(joined):
            while match.start >= offset + len(texts[index]) + len(SEPARATOR):
                offset += len(texts[index]) + len(SEPARATOR)
                index += 1
            placeholder = self.placeholder(match.kind, joined[match.start : match.end])
            spans.setdefault(index, []).append((match.start - offset, match.end - offset, placeholder))
            replaced[match.kind] += 1
        return spans

    def _redact_escaped(self, record: Record, replaced: Counter[str]) -> bool:
        """Replace in JSON strings that spell characters as `\\u0040` or `\\/`, in the record itself. Returns True if
        anything was replaced."""
        changed = False
        for place in record_text_spans(record):
            if not place.json:
                continue
            text = place.text
            spans = []
            for token in _TOKEN.finditer(text):
                if not ESCAPED_CHARACTER.search(token[0]):
                    continue
                try:
                    value = json.loads(token[0], strict=False)
                except ValueError:
                    continue
                inner = []
                for match in find_personal_data(value):
                    inner.append((match.start, match.end, self.placeholder(match.kind, value[match.start : match.end])))
                    replaced[match.kind] += 1
                if inner:
                    spans.append((*token.span(), json.dumps(_put(value, inner), ensure_ascii=token[0].isascii())))
            if spans:
                place.write(_put(text, spans))
                changed = True
        return changed

    def placeholder(self, kind: str, value: str) -> str:
        """Return the placeholder of the value in this dataset: `[KIND_NUMBER]`."""
        bare = f"{kind}:{_canonical(kind, value)}".encode("utf-8", "surrogatepass")
        key = blake2b(bare, digest_size=12).digest()
        number = self._numbers.get(key)
        if number is None:
            if len(self._numbers) >= self._max:
                self._key = self._key or self._seen.digest()
                return f"[{kind.upper()}_x{blake2b(bare, key=self._key, digest_size=5).hexdigest()}]"
            self._seen.update(bare)
            self._counts[kind] += 1
            number = self._numbers[key] = self._counts[kind]
        return f"[{kind.upper()}_{number}]"


def _canonical(kind: str, value: str) -> str:
    if kind in ("api_key", "secret", "url_credentials", "crypto_wallet"):
        return value
    if kind in ("email", "ip_address", "mac_address"):
        return value.casefold()
    return _IGNORED.sub("", value).upper()


def _put(text: str, spans: list[_Span]) -> str:
    pieces, last = [], 0
    for start, end, placeholder in spans:
        pieces += [text[last:start], placeholder]
        last = end
    return "".join([*pieces, text[last:]])


_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|-?\d[\d.eE+-]*', re.DOTALL)


def _in_json(text: str, spans: list[_Span]) -> str:
    """Return the text with the placeholders in its strings; a number with one in it becomes a string."""
    try:
        msgspec.json.decode(text)
    except msgspec.DecodeError:
        return _put(text, spans)
    whole = list(_covering_numbers(text, spans))
    return _put(text, whole)


def _covering_numbers(text: str, spans: list[_Span]) -> Iterator[_Span]:
    tokens = _TOKEN.finditer(text)
    token = next(tokens, None)
    for start, end, placeholder in spans:
        while token is not None and token.end() <= start:
            token = next(tokens, None)
        if token is not None and not token[0].startswith('"') and token.start() <= start:
            yield token.start(), token.end(), f'"{placeholder}"'
        else:
            yield start, end, placeholder
