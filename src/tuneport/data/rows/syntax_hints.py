"""Says in words what is wrong with text that is not JSON, and where. Used only once decoding has failed."""

from __future__ import annotations

import json
import re

_OFFSET = re.compile(r"\(byte (\d+)\)")
_MAGIC = {
    b"PK\x03\x04": "a zip archive",
    b"BZh": "bzip2-compressed",
    b"\xfd7zXZ\x00": "xz-compressed",
    b"PAR1": "a Parquet file",
    b"ARROW1": "an Arrow file",
    b"\x1f\x8b": "gzip-compressed twice",
    b"\x28\xb5\x2f\xfd": "zstandard-compressed twice",
}

_CONVERT = "give it the suffix of what it is, or convert it to .jsonl"
_MEDIA = (
    (re.compile(rb"\xff\xd8\xff|\x89PNG\r\n\x1a\n|GIF8[79]a|RIFF....WEBP|II\*\x00|MM\x00\*", re.DOTALL), "a picture"),
    (re.compile(rb"\x00\x00..ftyp|RIFF....AVI |\x1aE\xdf\xa3", re.DOTALL), "a film, a sound or a picture"),
    (re.compile(rb"ID3[\x02-\x04]|RIFF....WAVE|fLaC|OggS\x00", re.DOTALL), "a sound"),
    (re.compile(rb"%PDF-"), "a PDF document"),
    (re.compile(rb"SQLite format 3\x00"), "a SQLite database"),
    (re.compile(rb"GGUF[\x01-\x09]\x00|\x7fELF"), "a model or a program"),
)
_NO_DATASET = "name a dataset: .jsonl, .json, .csv, .parquet, or a folder of these"


def explain_foreign_file(start: bytes) -> tuple[str, str] | None:
    """Return rule and fix for a file whose first bytes are not UTF-8 text, or None if it may be."""
    for magic, name in _MAGIC.items():
        if start.startswith(magic):
            return f"is {name}, not text", _CONVERT
    for pattern, name in _MEDIA:
        if pattern.match(start):
            return f"is {name}, not a dataset", _NO_DATASET
    if start.startswith((b"\xff\xfe", b"\xfe\xff")) or b"\x00" in start[:2]:
        return "is UTF-16, not UTF-8", "save it as UTF-8"
    return None


def explain_broken_row(raw: bytes, error: Exception) -> tuple[str, str]:
    """Return rule and fix for one row; lines within it and columns count from 1."""
    rule, offset, fix = _explain(raw, error)
    if offset is None:
        return rule, fix
    start = raw.rfind(b"\n", 0, offset) + 1
    line = raw.count(b"\n", 0, offset) + 1
    where = f"column {_column(raw[start:], offset - start)}"
    return (f"{rule} at {where}" if line == 1 else f"{rule} at line {line} of the record, {where}"), fix


def _column(line: bytes, offset: int) -> int:
    return len(line[:offset].decode("utf-8", "replace")) + 1


def _explain(raw: bytes, error: Exception) -> tuple[str, int | None, str]:
    """Return rule, byte offset and fix. Python's parser words it better and knows the place; msgspec's knows NaN."""
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as bad:
        return "is not UTF-8", bad.start, "save the file as UTF-8"
    if "\0" in text:
        return "holds NUL bytes", raw.index(b"\0"), "remove them: the file is incomplete, or not a text"
    try:
        json.loads(text, parse_constant=_refuse_constant)
    except json.JSONDecodeError as bad:
        rule, place, fix = _cause(text, bad)
        return rule, len(text[:place].encode("utf-8", "replace")), fix
    except _NotANumberError as bad:
        found = re.search(r'(?<![\w"])' + re.escape(str(bad)) + r"(?![\w\"])", text)
        offset = len(text[: found.start()].encode()) if found else None
        return f"{bad} is not a JSON value", offset, "use null or a number"
    except RecursionError:
        return "is nested too deeply", None, "flatten the record"
    except ValueError as bad:
        return f"holds a number that cannot be read ({bad})", None, "write it as text"
    if re.search(r"\\u[dD][89a-fA-F]", text):
        return "holds half of a surrogate pair (\\ud800 to \\udfff)", None, "write the character as UTF-8"
    known = _OFFSET.search(str(error))
    return (
        f"cannot be read: {_OFFSET.sub('', str(error)).strip()}",
        int(known[1]) if known else None,
        "correct the value",
    )


def _cause(text: str, bad: json.JSONDecodeError) -> tuple[str, int, str]:
    """Return rule, place and fix: the usual mistakes by name, all others by the parser's message."""
    comma = bad.msg.startswith("Illegal trailing comma")  # Python 3.13 points at the comma, those before behind it
    before, after = text[: bad.pos + comma].rstrip(), text[bad.pos + comma :].lstrip()
    if before.endswith(",") and after[:1] in ("}", "]"):
        return f"is not JSON: a comma before the closing {after[0]}", len(before) - 1, "remove the comma"
    if bad.msg == "Extra data" and after.strip() == ",":
        return "is not JSON: a comma after the record", bad.pos, "remove the comma, or make the file a list: [..., ...]"
    if after.startswith("'") and before.endswith(("{", "[", ",", ":")):
        return "is not JSON but Python: single quotes", bad.pos, "write the records with json.dumps"
    if after.startswith(("True", "False", "None")):
        word = re.match(r"\w+", after)
        return f"is not JSON but Python: {word and word[0]}", bad.pos, "write the records with json.dumps"
    return f"is not JSON: {bad.msg.lower().removesuffix(' at')}", bad.pos, "correct the JSON"


class _NotANumberError(Exception):
    pass


def _refuse_constant(name: str) -> None:
    raise _NotANumberError(name)
