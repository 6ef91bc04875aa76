"""All that the command line writes for people goes through the door in `cli/views/output.py`, as its source shows."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import tuneport
from tuneport.cli.views import output

PACKAGE = Path(tuneport.__file__).parent
ROOMS = (
    "cli",
    "workflows",
    "lifecycle",
    "router",
    "backends",
    "serve",
    "scoring",
    "data",
    "estimate",
    "curves",
    "pages",
)
DOOR = {
    "cli/views/output.py",
    "cli/views/console.py",
    "cli/views/live_line.py",  # cleaned text by its caller, and nothing while something else is written
    "cli/command_list.py",  # it prints what is written in it, as typer would
}
PAST_THE_DOOR = {
    "print", "rich.print", "typer.echo", "typer.secho", "typer.confirm", "typer.prompt", "click.echo", "Console",
    "rich.console.Console", "Text.from_ansi", "os.write",
}  # fmt: skip
SOURCES = [path for room in ROOMS for path in sorted((PACKAGE / room).rglob("*.py"))]


def bypasses(tree: ast.AST) -> list[str]:
    """Calls that write past the door: print, a stream of sys, click, a rich console or table of one's own."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            if called in PAST_THE_DOOR:
                found.append(f"{node.lineno}: {called}")
            if called.startswith(("sys.stdout.write", "sys.stderr.write", "sys.stdout.buffer", "sys.stderr.buffer")):
                found.append(f"{node.lineno}: {called}")
            if called == "input" and not all(isinstance(each, ast.Constant) for each in node.args):
                found.append(f"{node.lineno}: input with a prompt that is no constant")
            if called.endswith("TextColumn") and not any(
                word.arg == "markup" and ast.unparse(word.value) == "False" for word in node.keywords
            ):
                if "{" in ast.unparse(node):
                    found.append(f"{node.lineno}: TextColumn that obeys markup")
        if isinstance(node, ast.ImportFrom) and node.module == "rich" and any(n.name == "print" for n in node.names):
            found.append(f"{node.lineno}: rich.print")
    return found


def test_no_command_writes_past_the_door() -> None:
    assert len(SOURCES) > 250
    found = {}
    for path in SOURCES:
        name = str(path.relative_to(PACKAGE))
        if name in DOOR:
            continue
        lines = bypasses(ast.parse(path.read_text(encoding="utf-8")))
        lines = [line for line in lines if not (line.endswith("os.write") and not name.startswith("cli/"))]
        if lines:
            found[name] = lines
    assert found == {}


@pytest.mark.parametrize(
    "source",
    ["print(1)", "import sys\nsys.stderr.write(x)", "typer.echo(x)", "Console().print(x)", "input(name)",
     'TextColumn("{task.description}")', "from rich import print"],
)  # fmt: skip
def test_what_would_be_one_is_found(source: str) -> None:
    assert bypasses(ast.parse(source))


SEEN = "a\u00a0b\u3000c\td\n\u00e9\u5bb6\U0001f600"


def test_what_is_seen_stays_and_the_rest_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    assert output.terminal_text(SEEN) == SEEN
    for code in (*range(0x20), *range(0x7F, 0xA0), 0xAD, *range(0x200B, 0x2010), *range(0x2028, 0x202F), 0x2060,
                 *range(0x2066, 0x206A), 0xFEFF, 0xE0001, 0xFFF9, 0xD800):  # fmt: skip
        if chr(code) not in "\n\t":
            assert output.terminal_text(f"a{chr(code)}b") == "a\ufffdb", hex(code)
    output.print_line("one\ntwo\x1b[2J")
    output.print_json_document({"x": "\x9b2J\u202e\x7f\x1b"})
    output.console().print("\x1b[2J", "[bold]ours[/bold]")
    table = output.console_table("name")
    table.add_row("[link=http://evil.example]\x1b[31mx")
    output.console().print(table)
    out = capsys.readouterr().out
    assert out.startswith("one two\ufffd[2J\n")
    assert '"\\u009b2J\\u202e\\u007f\\u001b"' in out and "\x1b" not in out and "[link=http://evil.example]" in out
    assert "ours" in out and "[bold]" not in out
