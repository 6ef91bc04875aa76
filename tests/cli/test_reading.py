"""Every command that reads a dataset reads it in the way that its flags say, and suggests commands that do so too."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

import pytest
import typer

from tests.support.commands import Run
from tests.support.rows import write
from tuneport.cli.command_table import COMMANDS
from tuneport.cli.main import app
from tuneport.data.dataset import Dataset
from tuneport.lifecycle.submitting.flags import build_submit_command
from tuneport.lifecycle.submitting.options import JobOptions
from tuneport.types import TuneSpec

READ = {"--map", "--format", "--template"}
TRAINED = {"submit", "plan", "compare", "preview", "check"}
ODD = {"instruction": "the question", "output": "its answer"}


def command(name: str) -> Any:
    group: Any = typer.main.get_command(app)
    return group.commands[name]


def reads_data(name: str) -> bool:
    return any(each.param_type_name == "argument" and each.metavar == "DATA" for each in command(name).params)


@pytest.mark.parametrize("name", [name for name in COMMANDS if reads_data(name)])
def test_each_command_that_reads_data_is_told_how(name: str) -> None:
    flags = {flag for each in command(name).params for flag in each.opts}
    assert flags >= READ | {"--system"}
    assert (flags >= {"--ignore", "--keep-unliked"}) is (name in TRAINED)


def test_the_commands_that_read_data_are_found() -> None:
    assert {name for name in COMMANDS if reads_data(name)} >= TRAINED | {
        "review",
        "clean",
        "split",
        "convert",
        "eval",
        "advise",
    }


def table(path: Path, rows: int = 30) -> Path:
    path.write_text("the question,its answer\n" + "".join(f"ask {each},reply {each}\n" for each in range(rows)))
    return path


def test_a_suggested_command_does_what_it_says(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = table(tmp_path / "some rows.csv")
    maps = [word for name, column in ODD.items() for word in ("--map", f"{name}={column}")]
    code, document, _ = run("check", str(path), *maps, "--json")
    assert code in (0, 2)
    fix = next(each["fix"] for each in document["findings"] if each["check"] == "hold-out")
    suggested = shlex.split(fix.partition("`")[2].rstrip("`"))
    assert suggested[:3] == ["tuneport", "split", str(path)] and suggested[3:] == maps
    monkeypatch.chdir(tmp_path)
    assert run(*suggested[1:])[0] == 0


def test_a_command_says_all_that_is_needed_to_read_the_same(tmp_path: Path) -> None:
    reading = {
        "columns": {"output": "it's"},
        "format": "alpaca",
        "system": "Be brief.",
        "template": "Say {x}",
        "ignored_columns": ("id",),
        "keep_unliked": True,
    }
    data = Dataset(tmp_path / "a b.csv", **reading)  # type: ignore[arg-type]
    spec = TuneSpec.model_validate({"model": "m", "dataset": data.path, **reading})
    assert Dataset.of_spec(spec).reading == data.reading
    submitted = shlex.split(build_submit_command(spec, JobOptions(), backend=None))
    for verb in ("submit", "split"):
        words = shlex.split(data.command(verb))
        assert words[:3] == ["tuneport", verb, str(data.path)]
        assert ("--ignore" in words) is ("--keep-unliked" in words) is (verb == "submit")
        assert set(words[3:]) <= set(submitted)
    assert shlex.split(Dataset([{"prompt": "a", "completion": "b"}]).command("check")) == ["tuneport", "check", "DATA"]


def test_the_format_that_is_given_is_read(run: Run, tmp_path: Path) -> None:
    rows = [
        {"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}
        | {"prompt": f"ask {number}", "completion": f"reply {number}"}
        for number in range(30)
    ]
    path = write(tmp_path / "both.jsonl", rows)
    code, document, error = run("plan", str(path), "-m", "smollm2-135m-instruct", "--json")
    assert code == 0, error
    _, other, _ = run("plan", str(path), "-m", "smollm2-135m-instruct", "--format", "openai", "--json")
    assert other["rows"] == document["rows"] == 30 and other["tokens_per_epoch"] < document["tokens_per_epoch"]
    code, _, error = run("compare", str(path), "--format", "alpaca", "-m", "gpt-4.1-mini")
    assert code == 2 and "while the file is read as alpaca" in error


def test_an_error_about_columns_names_them_all(run: Run, tmp_path: Path) -> None:
    names = [f"column{number}" for number in range(30)] + ["team"]
    path = tmp_path / "wide.csv"
    path.write_text(",".join(names) + "\n" + ",".join("x" for _ in names) + "\n")
    code, _, error = run("check", str(path))
    assert code == 2 and all(name in error for name in names) and "--map completion=team" in error
    assert "first line" not in error, "it has names there"
    many = write(tmp_path / "many.jsonl", [{f"column{number}": "x" for number in range(90)}])
    _, _, error = run("check", str(many), "--map", "prompt=none")
    assert "column59 and 30 more" in error and "column60" not in error
    assert json.loads(many.read_text())["column60"] == "x"
    headless = tmp_path / "headless.csv"
    headless.write_text("17,my printer does not work at all,it\n18,and mine neither,it\n")
    assert "name the columns in its first line" in run("check", str(headless))[2]
