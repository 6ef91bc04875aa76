"""Files that commands write: what is there stays, unless `--force` says otherwise."""

from __future__ import annotations

from pathlib import Path

import pytest
import typer

from tests.support.commands import Run
from tests.support.folders import FIXTURES
from tests.support.surface import command_lines
from tuneport.cli.main import app

TRAIN = str(FIXTURES / "datasets" / "support_intents.train.jsonl")
TEST = str(FIXTURES / "datasets" / "support_intents.test.jsonl")
MINE = "mine\n"

WRITES = {
    "convert": (["convert", TRAIN, "--to", "alpaca", "--allow-loss", "-o", "out.jsonl"], "out.jsonl"),
    "clean": (["clean", TRAIN, "-o", "out.jsonl"], "out.jsonl"),
    "the log of clean": (["clean", TRAIN, "-o", "out.jsonl"], "out.jsonl.log.jsonl"),
    "split, to train on": (["split", TRAIN], "support_intents.train.train.jsonl"),
    "split, held out": (["split", TRAIN], "support_intents.train.validation.jsonl"),
    "check": (["check", TRAIN, "--html", "page.html"], "page.html"),
    "compare, the page": (["compare", TRAIN, "-m", "gpt-4.1-mini", "--html", "page.html"], "page.html"),
    "compare, the table": (["compare", TRAIN, "-m", "gpt-4.1-mini", "--csv", "rows.csv"], "rows.csv"),
    "eval, the page": (["eval", TEST, "one", "--rows", "5", "--html", "page.html"], "page.html"),
    "eval, the pairs": (["eval", TEST, "one", "two", "--rows", "5", "--pairs", "p.jsonl"], "p.jsonl"),
}


@pytest.mark.parametrize("name", WRITES)
def test_a_file_that_is_there_is_replaced_with_force_only(
    name: str, run: Run, isolated: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TUNEPORT_BACKEND", "fake")
    command, output = WRITES[name]
    (isolated / output).write_text(MINE)
    before = sorted(isolated.iterdir())
    code, _, error = run(*command)
    assert (code, error) == (2, f"error: {output} is there already; name another, or replace it with --force\n")
    assert (isolated / output).read_text() == MINE and sorted(isolated.iterdir()) == before
    code, _, error = run(*command, "--force")
    assert code == 0 and (isolated / output).read_text() != MINE, error


def test_force_does_not_replace_the_input(run: Run, isolated: Path) -> None:
    data = isolated / "d.jsonl"
    data.write_bytes(Path(TRAIN).read_bytes())
    for command in (["convert", "d.jsonl", "--to", "openai"], ["clean", "d.jsonl"]):
        code, _, error = run(*command, "-o", "d.jsonl", "--force")
        assert code == 2 and "the output d.jsonl is the input" in error
    assert data.read_bytes() == Path(TRAIN).read_bytes()


def test_a_link_to_a_file_that_is_gone_is_a_file_that_is_there(run: Run, isolated: Path) -> None:
    (isolated / "out.jsonl").symlink_to("gone.jsonl")
    code, _, error = run("convert", TRAIN, "--to", "openai", "-o", "out.jsonl")
    assert code == 2 and "out.jsonl is there already" in error and (isolated / "out.jsonl").is_symlink()


def test_split_makes_the_folder_given_and_none_above_it(run: Run, isolated: Path) -> None:
    code, _, error = run("split", TRAIN, "-o", "new/deep")
    assert (code, error) == (2, "error: new: the folder does not exist; create it, or name another output\n")
    assert not (isolated / "new").exists()
    assert run("split", TRAIN, "-o", "new")[0] == 0 and len(list((isolated / "new").iterdir())) == 2


def test_every_command_that_writes_a_file_has_force() -> None:
    options = [line.split() for line in command_lines(typer.main.get_command(app), "")]
    named = {
        tuple(line[1:-1]) for line in options if line[0] == "option" and line[-1] in ("--html", "--csv", "--output")
    }
    forced = {tuple(line[1:-1]) for line in options if line[0] == "option" and line[-1] == "--force"}
    assert named - forced == {("download",)}  # into a new or empty folder only
