"""However a file is cut and whoever converts the parts: the same bytes, and the same said about them."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.data.two_processes import always
from tests.support.rows import chat
from tuneport.data.containers.bad_row import MAX_ROW
from tuneport.data.conversion import conversion
from tuneport.data.conversion.convert import convert
from tuneport.data.running import ordered_map as ordered
from tuneport.errors import TuneportError

ROWS = 3000
TWICE = '{"messages": [{"role": "user", "content": "x", "content": "a"}, {"role": "assistant", "content": "b"}]}'


def rows(odd: dict[int, Any] | None = None) -> list[str]:
    """Chats of various length, some with quotes and more than ASCII; `odd` by line, text as it is."""
    lines = []
    for line in range(1, ROWS + 1):
        row = (odd or {}).get(
            line, chat(f"{line}: was ist »das«?\n" * (line % 9), f'"{line}" ' * (line % 5), system="s")
        )
        lines.append(row if isinstance(row, str) else json.dumps(row, ensure_ascii=line % 2 == 0))
    return lines


def weighted(line: int) -> dict[str, Any]:
    row = chat("a", str(line))
    row["messages"][1]["weight"] = line % 2
    return row


def alpaca(line: int) -> str:
    return json.dumps({"instruction": f"add {line}", "input": "c" * (line % 3 // 2), "output": "d" * (line % 50)})


def text(lines: list[str], end: str = "\n") -> bytes:
    return "".join(f"{line}{end}" for line in lines).encode()


LOSSES = {
    **{line: weighted(line) for line in (2, 700, 701, 702, 2500, 2999)},
    **{line: chat("a", "b", parallel_tool_calls=False) for line in (5, 1400, 2998)},
    **{line: chat("a", "b", source=f"book {line}", **{f"note{line % 11}": line}) for line in range(30, ROWS, 97)},
    1700: {"messages": [{"role": "user", "content": "no answer"}, {"role": "assistant", "content": ""}]},
}
BROKEN = {3: "{", 1500: '{"messages": 7}', 1501: "", 1502: "", 2800: '{"messages": []', 3000: "nothing"}
FILES: dict[str, tuple[bytes, str]] = {
    "plain": (text(rows()), "alpaca"),
    "losses": (text(rows(LOSSES)), "alpaca"),
    "errors far apart": (text(rows(BROKEN)), "alpaca"),
    "errors everywhere": (text(rows({line: "{" for line in range(500, ROWS, 3)})), "alpaca"),
    "formats are mixed": (text([*rows()[:2000], *map(alpaca, range(900)), *rows()[2000:]]), "sharegpt"),
    "a key stands twice": (text(rows({1111: TWICE, 2222: TWICE})), "alpaca"),
    "an object and its neighbour on one line": (text(rows({9: rows()[8] + rows()[9], 10: ""})), "alpaca"),
    "a record on two lines": (text(rows({900: '{"messages":', 901: '[]}'})), "alpaca"),
    "no end of the last line": (text(rows())[:-1], "alpaca"),
    "CRLF": (text(rows(), "\r\n"), "alpaca"),
    "CRLF and losses": (text(rows(LOSSES), "\r\n"), "alpaca"),
    "byte order mark": (b"\xef\xbb\xbf" + text(rows()), "alpaca"),
    "blank lines at the end": (text(rows()) + b"\n" * 5000 + b" \r\n\t", "alpaca"),
    "blank lines at the end and between": (text(rows({1300: "\n" * 4000})) + b"\n" * 5000, "alpaca"),
    "blank lines first": (b"\n" * 4000 + text(rows()), "alpaca"),
    "nothing but blank lines": (b"\n \n" * 4000, "alpaca"),
    "rows longer than a part": (text(rows({7: chat("x" * 100_000, "b"), 8: "{" + "y" * 50_000})), "alpaca"),
    "long plain rows": (text(rows({7: chat("x" * 100_000, "b")})), "alpaca"),
    "notes": (text([alpaca(line) for line in range(ROWS)]), "openai"),
    "not UTF-8": (text(rows())[:200_000] + b"\xff" + text(rows())[200_000:], "alpaca"),
}  # fmt: skip


def told(source: Path, target: str, output: Path, allow_loss: bool) -> tuple[Any, bytes]:
    """What is said, with the name of the source put out of it, and what is written."""
    known = "alpaca" if target == "openai" else "openai"
    try:
        said = convert(source, target, output, format=known, allow_loss=allow_loss).as_dict()
    except TuneportError as error:
        said = error.as_dict()
    written = output.read_bytes() if output.exists() else b""
    output.unlink(missing_ok=True)
    assert [path for path in source.parent.iterdir() if path.is_file()] == [source]
    return json.loads(json.dumps(said).replace(source.name, "train.jsonl")), written


def alone(monkeypatch: pytest.MonkeyPatch, part_bytes: int) -> None:
    monkeypatch.setattr(ordered, "count_worker_processes", lambda: 1)
    monkeypatch.setattr(conversion, "PART_BYTES", part_bytes)


def together(monkeypatch: pytest.MonkeyPatch, part_bytes: int) -> list[int]:
    monkeypatch.setattr(conversion, "PART_BYTES", part_bytes)
    return always(monkeypatch)


@pytest.mark.parametrize("name", FILES)
def test_all_ways_agree(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content, target = FILES[name]
    source, output = tmp_path / "train.jsonl", tmp_path / "b.jsonl"
    source.write_bytes(content)
    allowed = name.endswith("losses")
    with monkeypatch.context() as here:
        alone(here, 1 << 30)
        expected = told(source, target, output, allowed)
    for part_bytes in (1 << 13, 1 << 16):
        with monkeypatch.context() as here:
            alone(here, part_bytes)
            assert told(source, target, output, allowed) == expected
        with monkeypatch.context() as here:
            handed = together(here, part_bytes)
            assert told(source, target, output, allowed) == expected
            assert handed or len(content) <= 3 * part_bytes
    source.unlink()
    packed = tmp_path / "train.jsonl.gz"
    packed.write_bytes(gzip.compress(content))
    assert told(packed, target, output, allowed) == expected


def test_what_the_ways_agree_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def of(name: str, allow_loss: bool = False) -> tuple[Any, bytes]:
        content, target = FILES[name]
        source = tmp_path / "train.jsonl"
        source.write_bytes(content)
        return told(source, target, tmp_path / "b.jsonl", allow_loss)

    assert together(monkeypatch, 1 << 13) == []
    said, written = of("plain")
    assert (said["rows"], said["written"], written.count(b"\n")) == (ROWS, ROWS, ROWS)
    answers = [json.loads(line)["output"] for line in written.splitlines()]
    assert answers == [f'"{line}" ' * (line % 5) for line in range(1, ROWS + 1)]
    said, _ = of("losses")
    lines = {loss["field"]: (loss["count"], loss["lines"]) for loss in said["losses"]}
    assert lines["messages[].weight"] == (6, [2, 700, 701, 702, 2500])
    assert lines["parallel_tool_calls"] == (3, [5, 1400, 2998])
    said, _ = of("losses", allow_loss=True)
    assert said["rows"] == said["written"] == ROWS
    said, written = of("errors far apart")
    assert ([problem["line"] for problem in said["problems"]], written) == (sorted(BROKEN), b"")
    said, _ = of("errors everywhere")
    assert (said["count"], len(said["problems"])) == (834, 50)
    said, _ = of("a key stands twice")
    assert [(problem["line"], problem["rule"]) for problem in said["problems"]] == [
        (1111, "has the key 'content' twice"),
        (2222, "has the key 'content' twice"),
    ]
    said, _ = of("formats are mixed")
    assert (said["count"], [problem["line"] for problem in said["problems"]][:2]) == (901, [2001, 2901])
    said, _ = of("blank lines at the end and between")
    assert (said["count"], said["problems"][0]["line"]) == (4001, 1300)
    said, _ = of("notes")
    assert said["notes"] == ["instruction and input are joined by a newline"]


@pytest.mark.parametrize("suffix", [".json", ".csv", ".jsonl.gz", ".parquet"])
def test_every_container_gets_the_same(suffix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content, target = FILES["losses"]
    source, output = tmp_path / "train.jsonl", tmp_path / f"b{suffix}"
    source.write_bytes(content)
    found = []
    ways: tuple[Callable[..., Any], ...] = (alone, together)
    for way in ways:
        with monkeypatch.context() as here:
            way(here, 1 << 14)
            found.append(told(source, target, output, True))
    assert found[0] == found[1]
    assert found[0][1]


def test_a_row_too_large_is_told_with_its_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = tmp_path / "train.jsonl"
    with source.open("wb") as file:
        file.write(text(rows()))
        for _ in range((MAX_ROW >> 20) + 3):
            file.write(b"x" * (1 << 20))
        file.write(b"\n" + text(rows()))
    handed = together(monkeypatch, 1 << 16)
    said, written = told(source, "alpaca", tmp_path / "b.jsonl", False)
    assert said["message"].startswith(f"{source}:{ROWS + 1}: the record is larger than 64 MiB; ")
    assert (written, bool(handed)) == (b"", True)


def test_a_process_that_helps_starts_without_pydantic() -> None:
    """Its start is what a conversion of 200,000 rows waits for: with pydantic it took 0.07 s longer of 0.4."""
    script = "import sys, tuneport.data.conversion.conversion; print('pydantic' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
