from __future__ import annotations

import inspect
import os
import pkgutil
import shlex
import subprocess
import sys
from collections.abc import Iterator
from importlib import import_module
from typing import Any

import pytest
import typer
from typer.rich_utils import rich_format_help

from tuneport.cli import commands
from tuneport.cli.command_table import COMMANDS, GROUPS, OTHER_WORDS, group_title
from tuneport.cli.main import app, main
from tuneport.version import __version__


def commands_of_modules() -> Iterator[tuple[str, str]]:
    """Yield each command of each module with its module."""
    for module in pkgutil.iter_modules(commands.__path__):
        its = import_module(f"{commands.__name__}.{module.name}")
        groups = [name.removesuffix("_group") for name in vars(its) if name.endswith("_group")]
        yield from ((name, module.name) for name in groups)
        for name, function in inspect.getmembers(its, inspect.isfunction):
            in_a_group = name.startswith(tuple(f"{group}_" for group in groups))
            if name.endswith("_command") and function.__module__ == its.__name__ and not in_a_group:
                yield name.removesuffix("_command"), module.name


def test_the_table_has_every_command_with_its_module() -> None:
    assert dict(commands_of_modules()) == {name: row.module for name, row in COMMANDS.items()}


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_is_found_by_its_name(name: str) -> None:
    command: Any = typer.main.get_command(app)
    context = command.make_context("tuneport", [], resilient_parsing=True)
    assert command.get_command(context, name).name == name
    assert command.commands[name].short_help == COMMANDS[name].line


@pytest.mark.parametrize("name", COMMANDS)
def test_the_help_of_a_command_ends_with_an_example_that_parses(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([name, "-h"]) == 0
    printed = " ".join(capsys.readouterr().out.split())
    assert printed.endswith(f"Example: tuneport {COMMANDS[name].example}")
    words = shlex.split(COMMANDS[name].example)
    assert words[0] == name
    command: Any = typer.main.get_command(app)
    context = command.make_context("tuneport", words)  # parses all, and calls nothing
    while hasattr(command, "commands"):
        word, command, rest = command.resolve_command(context, context._protected_args + context.args)
        context = command.make_context(word, rest, parent=context)


def test_the_list_is_in_groups_with_an_example_each_and_a_line_a_command_at_80_columns(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    assert main(["-h"]) == 0
    printed = capsys.readouterr().out
    titles = [line for line in printed.splitlines() if ", e.g. tuneport " in line]
    assert [line.strip("╭─ ").split(",")[0] for line in titles] == ["Data", "Decide", "Train", "Use", "Operate"]
    assert [line for line in titles if "…" in line or not line.endswith(" ─╮") and not line.endswith("──╮")] == []
    places = [printed.index(group_title(group)) for group in GROUPS]
    assert places == sorted(places)
    for name, row in COMMANDS.items():
        shown = next(line for line in printed.splitlines() if line.startswith(f"│ {name} "))
        assert row.line in shown
        assert row.group == [group for group in GROUPS if printed.index(group_title(group)) < printed.index(shown)][-1]


@pytest.mark.parametrize("words", [["store", "upgrade"], ["token", "create"], ["jobs"], []])
def test_h_is_help_everywhere(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*words, "--help"]) == 0
    expected = capsys.readouterr().out
    assert main([*words, "-h"]) == 0
    assert capsys.readouterr().out == expected


@pytest.mark.parametrize(
    ("word", "meant"),
    [("train", "tuneport submit DATA --model MODEL"), ("ls", "tuneport jobs"), ("cost", "tuneport compare DATA")],
)
def test_the_words_of_other_tools_lead_to_the_command(
    word: str, meant: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([word, "train.jsonl"]) == 2
    assert f"No such command '{word}': `{meant}" in capsys.readouterr().err


def test_no_word_of_other_tools_is_a_command() -> None:
    assert not set(OTHER_WORDS) & set(COMMANDS)


def completed(words: str) -> tuple[set[str], set[str]]:
    """Return what bash is told that the last word can become, and which command modules were imported for it."""
    code = (
        "import atexit, sys; from tuneport.cli.main import main; "
        "atexit.register(lambda: print(*sys.modules, file=sys.stderr)); sys.argv[0] = 'tuneport'; main([])"
    )
    asked = {"_TUNEPORT_COMPLETE": "complete_bash", "COMP_WORDS": words, "COMP_CWORD": str(words.count(" "))}
    done = subprocess.run(
        [sys.executable, "-c", code], env=os.environ | asked, capture_output=True, text=True, check=True
    )
    prefix = f"{commands.__name__}."
    return set(done.stdout.split()), {
        name.removeprefix(prefix) for name in done.stderr.split() if name.startswith(prefix)
    }


@pytest.mark.parametrize(
    ("words", "expected", "imported"),
    [
        ("tuneport de", {"deploy", "deployments", "delete", "demo"}, set()),
        ("tuneport --ver", {"--version"}, set()),
        ("tuneport token re", {"revoke"}, {"token"}),
        ("tuneport jobs --wa", {"--watch"}, {"jobs"}),
    ],
)
def test_the_shell_completes_names_and_options(words: str, expected: set[str], imported: set[str]) -> None:
    assert completed(words) == (expected, imported)


def test_the_shell_gets_its_script(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("typer.completion._get_shell_name", lambda: "bash")  # the tests run below no shell
    with pytest.raises(SystemExit, match="0"):
        app(args=["--show-completion"], standalone_mode=False, prog_name="tuneport")
    assert "_TUNEPORT_COMPLETE=complete_bash" in capsys.readouterr().out


@pytest.mark.parametrize("colour", ["", "1"])
@pytest.mark.parametrize("width", [24, 40, 60, 80, 120, 200])
def test_the_list_of_commands_looks_as_typer_draws_it(
    width: int, colour: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    monkeypatch.setenv("FORCE_COLOR", colour)
    monkeypatch.setattr("typer.rich_utils.FORCE_TERMINAL", True if colour else None)  # read when it was imported
    monkeypatch.setenv("TERM", "xterm-256color")
    group: Any = typer.main.get_command(app)
    context = group.make_context("tuneport --debug", [], resilient_parsing=True)  # a name with an option's style
    rich_format_help(obj=group, ctx=context, markup_mode="rich")
    drawn_by_typer = capsys.readouterr().out
    group.format_help(context, None)
    assert capsys.readouterr().out == drawn_by_typer
    assert ("\x1b[" in drawn_by_typer) == bool(colour)


def all_commands(group: Any, context: Any) -> Iterator[tuple[Any, Any]]:
    """Yield each command below a group with its context, groups of commands among them."""
    for name in group.list_commands(context):
        command = group.commands[name]
        own = command.make_context(name, [], parent=context, resilient_parsing=True)
        yield command, own
        if hasattr(command, "commands"):
            yield from all_commands(command, own)


def test_help_says_nothing_of_switches_and_tells_bounds_in_words(
    capsys: pytest.CaptureFixture[str],
) -> None:
    group: Any = typer.main.get_command(app)
    context = group.make_context("tuneport", [], resilient_parsing=True)
    screens = {}
    for command, own in all_commands(group, context):
        rich_format_help(obj=command, ctx=own, markup_mode="rich")
        screens[own.command_path] = capsys.readouterr().out
    assert {"tuneport token create", "tuneport store upgrade", "tuneport webhook test"} <= set(screens)
    assert [name for name, told in screens.items() if "<bool>" in told or "range" in told or "<=" in told] == []
    assert "--port <number>" in " ".join(screens["tuneport serve"].split())
    assert "0 to 65535." in " ".join(screens["tuneport serve"].split())


def test_the_package_runs_as_a_module() -> None:
    done = subprocess.run([sys.executable, "-m", "tuneport", "--version"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, f"tuneport {__version__}\n"), done.stderr
    done = subprocess.run([sys.executable, "-m", "tuneport", "show"], capture_output=True, text=True, check=False)
    assert done.returncode == 2 and "see `python -m tuneport show --help`" in done.stderr


def test_a_number_out_of_its_bounds_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["serve", "--port", "65536"]) == 2
    assert "--port" in capsys.readouterr().err


def test_without_rich_the_list_is_plain_text() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tuneport.cli.main", "--help"],
        env=os.environ | {"TYPER_USE_RICH": "0"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert "Commands:\n  check " in done.stdout and set(COMMANDS) <= set(done.stdout.split())


@pytest.mark.parametrize(("wrong", "meant"), [("job", "'jobs'"), ("evla", "'eval'"), ("frob", None)])
def test_a_misspelt_command_is_told_what_was_meant(
    wrong: str, meant: str | None, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([wrong]) == 2
    said = capsys.readouterr().err
    assert f"No such command '{wrong}'" in said
    assert (f"Did you mean {meant}?" in said) if meant else ("Did you mean" not in said)


@pytest.mark.parametrize(
    ("arguments", "imported"), [(["--help"], set()), (["token", "--help"], {"token"}), (["jobs"], {"jobs"})]
)
def test_only_the_module_of_the_command_is_imported(arguments: list[str], imported: set[str]) -> None:
    code = f"import sys; from tuneport.cli.main import main; main({arguments!r}); print(*sys.modules, file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(done.stderr.split())
    prefix = f"{commands.__name__}."
    assert {name.removeprefix(prefix) for name in loaded if name.startswith(prefix)} == imported
    if arguments == ["--help"]:
        assert not loaded & {"typer.rich_utils", "rich.markdown", "pydantic", "asyncio", "tuneport.types"}
    if arguments == ["jobs"]:
        assert not loaded & {"numpy", "alembic", "tuneport.manifests", "tuneport.backends", "tuneport.data.dataset"}
