"""What `tuneport` exports: one table, the same for programs, type checkers and `from tuneport import *`."""

from __future__ import annotations

import ast
import importlib
import inspect
import pkgutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer

import tuneport
from tuneport import errors
from tuneport.cli.main import app
from tuneport.data.rows.reading_options import MoreReadingOptions
from tuneport.lifecycle.handle import Job

SOURCE = Path(tuneport.__file__)
NOT_COROUTINES = {"Dataset", "allow_large", "migrate", "open_backend"}
"""Of the functions: what waits for nobody, or gives an object with verbs of its own."""


def for_type_checkers() -> Iterator[tuple[str, str]]:
    """Yield the names that a type checker reads, each with its module."""
    [block] = [node for node in ast.parse(SOURCE.read_text()).body if isinstance(node, ast.If)]
    for node in block.body:
        assert isinstance(node, ast.ImportFrom) and node.module is not None
        for alias in node.names:
            assert alias.asname == alias.name, f"write `import {alias.name} as {alias.name}`, else it is not exported"
            yield alias.name, node.module


def test_the_three_lists_are_one() -> None:
    checked = dict(for_type_checkers())
    assert checked.pop("aio") == "tuneport"
    assert checked == tuneport._HOMES
    assert set(tuneport.__all__) == {*checked, "aio", "__version__"}
    assert len(tuneport.__all__) == len(set(tuneport.__all__)) and dir(tuneport) == tuneport.__all__


def test_star_gives_all_names() -> None:
    names: dict[str, object] = {}
    exec("from tuneport import *", names)  # the module is read by exec, as a program would
    assert set(tuneport.__all__) <= set(names)


def test_every_error_can_be_caught_by_name() -> None:
    classes = {name for name, each in vars(errors).items() if isinstance(each, type) and issubclass(each, Exception)}
    assert classes and classes <= set(tuneport.__all__)
    assert issubclass(tuneport.JobFailedError, tuneport.TrainingError)
    assert issubclass(tuneport.UnknownJobError, tuneport.ConfigError)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'evalute'"):
        tuneport.evalute  # noqa: B018


def hidden() -> list[str]:
    """Return the names that are no longer the function or class of the table: importing a submodule binds it to its
    name in the package, in place of a function that was called so."""
    exported = {name: getattr(tuneport, name) for name in tuneport._HOMES}
    homes = {name: vars(importlib.import_module(home))[name] for name, home in tuneport._HOMES.items()}
    return [name for name, each in exported.items() if each is not homes[name] or not callable(each)]


def test_no_name_is_hidden_by_a_submodule() -> None:
    children = [each.name for each in pkgutil.iter_modules(tuneport.__path__)]
    assert {"lifecycle", "scoring"} <= set(children) and set(children) & set(tuneport.__all__) == {"aio"}
    for name in children:  # only these could take a name's place
        importlib.import_module(f"tuneport.{name}")
    assert hidden() == [] and inspect.ismodule(tuneport.aio)


@pytest.mark.full
def test_no_name_is_hidden_once_every_module_is_imported() -> None:
    program = """
import importlib, pkgutil, tuneport
from tests.test_public_names import hidden
count = 0
for found in pkgutil.walk_packages(tuneport.__path__, "tuneport."):
    if not found.name.endswith((".__main__", ".migrations.env")):  # they run when they are imported
        importlib.import_module(found.name)
        count += 1
print(count > 500, hidden())
"""
    here = Path(__file__).parent.parent
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=here)
    assert done.stdout.strip() == "True []", done.stderr


def test_every_verb_is_a_coroutine_and_a_method_too() -> None:
    functions = {name for name in tuneport.__all__ if inspect.isfunction(getattr(tuneport, name))} - NOT_COROUTINES
    aio = importlib.import_module("tuneport.aio")
    assert {name for name, each in vars(aio).items() if inspect.iscoroutinefunction(each)} == functions
    for name in functions:
        own = inspect.signature(getattr(tuneport, name)).parameters
        assert inspect.signature(getattr(aio, name)).parameters == own, name
        assert name in vars(tuneport.Workspace) and name in vars(aio.Workspace), name
    assert "migrate" in vars(tuneport.Workspace)


def test_the_coroutines_of_a_job_are_its_methods() -> None:
    methods = {name for name, each in vars(Job).items() if inspect.isfunction(each) and not name.startswith("_")}
    aio = importlib.import_module("tuneport.aio")
    assert methods - set(vars(aio.Job)) == {
        "turns",
        "updates",
        "timed_out",
        "succeeded",
    }  # what wait and follow are made of


OF_A_TERMINAL = {
    "all_", "epochs", "json_", "html", "csv", "pairs", "force", "yes", "allow_large", "tokens", "wait",
    "push", "spec_file",
}  # fmt: skip
"""What a command writes and asks: in Python a method of the result, or a `with`."""
OF_A_DATASET = {"system", "template", "ignored_columns", "keep_unliked"}
"""What a command says of its data beside columns and format: in Python keywords of `tuneport.Dataset`."""
OTHER_NAMES = {
    "data": "dataset", "format_": "format", "map_": "columns", "out": "output", "set_": "hyperparameters",
    "option": "options", "not_delete_files": "delete_files", "not_validation": "validation",
}  # fmt: skip
"""Where Python has another word for a flag: `--map` and `--set` take pairs of text, `-o` and `--format` are short."""


@pytest.mark.parametrize(
    "name",
    ["advise", "check", "clean", "compare", "convert", "deploy", "eval", "label", "plan", "preview", "split", "submit"],
)
def test_a_function_has_the_names_of_its_command(name: str) -> None:
    command = typer.main.get_command(app).commands[name]  # type: ignore[attr-defined]
    flags = {OTHER_NAMES.get(each.name, each.name) for each in command.params} - OF_A_TERMINAL
    assert flags & OF_A_DATASET <= set(MoreReadingOptions.__annotations__)
    function = getattr(tuneport, {"eval": "evaluate"}.get(name, name))
    assert flags - OF_A_DATASET <= set(inspect.signature(function).parameters)
