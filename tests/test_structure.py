"""The house rules inside the rooms: no circles, front doors, folders and files of a size that one can see."""

from __future__ import annotations

import ast
import importlib
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from tests.test_layers import PACKAGE, imports

FILES = {
    ".".join(("tuneport", *path.relative_to(PACKAGE).with_suffix("").parts)): path
    for path in sorted(PACKAGE.rglob("*.py"))
}
ROOMS = sorted(path.name for path in PACKAGE.iterdir() if (path / "__init__.py").exists())
MOST_ENTRIES = 17
DRAWERS = {
    "tuneport": "the rooms themselves, and the files of the ground floor",
    "tuneport.cli.commands": "a file for each command, which is how people look for them",
    "tuneport.workflows": "a file for each verb, and a folder for what it is made of",
}
"""Folders that may have more entries, and why."""
MOST_LINES = 400
LONG_FILES = {
    "backends/hosted/backend.py": "what all hosted providers share, in the order of a job's life",
    "backends/local/backend.py": "the backend's interface, in the order of a job's life",
    "backends/local/runs/run.py": "one run's process, from its start to its end",
    "backends/local/serving/infer.py": "the inference child and its wire",
    "backends/together/backend.py": "the backend's interface, in the order of a job's life",
    "data/templates/rendering.py": "each kind of record in the form that trainers take",
    "lifecycle/service.py": "the verbs of a workspace",
    "lifecycle/worker/worker.py": "the state machine of a job, whole",
    "serve/live/streams.py": "streams and their fan-out, which share their locks",
    "train/ray/driver.py": "a run's life on a Ray cluster",
    "types.py": "the types that all rooms share",
}
"""Files that may be longer, and why."""
MOST_LINES_OF_A_FUNCTION = 80
COMMAND = "one command: its options are its parameters"
ROUTES = "the routes of one part of the wire, each with its own few lines"
LONG_FUNCTIONS = {
    "cli/commands/advise.py advise_command": COMMAND,
    "cli/commands/costs.py compare_command": COMMAND,
    "cli/commands/evaluate.py eval_command": COMMAND,
    "cli/commands/migrate.py migrate_command": COMMAND,
    "serve/openai/files.py router": ROUTES,
    "serve/openai/jobs.py router": ROUTES,
    "train/recipe.py train": "one run from its data to its weights, in order; each step is a function elsewhere",
    "workflows/evaluate.py evaluate": "one verb: most lines are its arguments and what they mean",
    "workflows/plan.py plan": "one plan with all its facts, which the steps share",
}
"""Functions that may be longer, by their file and name, and why."""


def module_of(name: str) -> str:
    """Return the module that an imported name is, or lies in."""
    while name and name not in FILES and f"{name}.__init__" not in FILES:
        name = name.rpartition(".")[0]
    return name if name in FILES else f"{name}.__init__"


def imported() -> dict[str, set[str]]:
    """Return what each file imports of the package; imports inside functions and for type checkers count, too."""
    found = {}
    for module, path in FILES.items():
        names = [name for name in imports(ast.parse(path.read_text())) if name.partition(".")[0] == "tuneport"]
        found[module] = {module_of(name) for name in names} - {module, "tuneport.__init__"}
    return found


def circles(arrows: Mapping[str, set[str]]) -> list[list[str]]:
    """Return the groups of nodes that reach each other (Tarjan)."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found: list[list[str]] = []

    def visit(node: str) -> None:
        index[node] = low[node] = len(index)
        stack.append(node)
        for other in arrows.get(node, ()):
            if other not in index:
                visit(other)
                low[node] = min(low[node], low[other])
            elif other in stack:
                low[node] = min(low[node], index[other])
        if low[node] == index[node]:
            group = []
            while not group or group[-1] != node:
                group.append(stack.pop())
            if len(group) > 1:
                found.append(sorted(group))

    for node in arrows:
        if node not in index:
            visit(node)
    return found


def between_entries(arrows: Mapping[str, set[str]]) -> Iterator[tuple[str, dict[str, set[str]]]]:
    """Yield each folder with the arrows between its entries, files and folders alike."""
    inside: dict[str, dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
    for module, others in arrows.items():
        for other in others:
            mine, its = module.split("."), other.split(".")
            depth = next(place for place, (a, b) in enumerate(zip(mine, its, strict=False)) if a != b)
            inside[".".join(mine[:depth])][mine[depth]].add(its[depth])
    yield from sorted(inside.items())


def test_circles_are_found() -> None:
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}}) == [["a", "b", "c"]]
    assert circles({"a": {"b", "c"}, "b": {"c"}, "c": set()}) == []


def test_no_circle_between_files() -> None:
    assert circles(imported()) == []


def test_no_circle_between_folders() -> None:
    # A folder's own `__init__` names what lies in it; what lies in it does not import the `__init__`.
    arrows = {module: others for module, others in imported().items() if not module.endswith(".__init__")}
    assert {folder: found for folder, inside in between_entries(arrows) if (found := circles(inside))} == {}


def test_folders_can_be_seen_at_a_glance() -> None:
    entries: dict[str, set[str]] = defaultdict(set)
    for module in FILES:
        parts = module.split(".")
        for depth in range(1, len(parts)):
            entries[".".join(parts[:depth])].add(parts[depth])
    many = {folder: len(there - {"__init__", "__main__"}) for folder, there in entries.items()}
    assert {folder: count for folder, count in many.items() if count > MOST_ENTRIES and folder not in DRAWERS} == {}


def test_files_can_be_read_in_one_go() -> None:
    lines = {str(path.relative_to(PACKAGE)): len(path.read_text().splitlines()) for path in FILES.values()}
    long = {name: count for name, count in lines.items() if count > MOST_LINES}
    assert {name: count for name, count in long.items() if name not in LONG_FILES} == {}
    assert set(LONG_FILES) <= set(long), "shorter by now: take it off the list"


def test_functions_fit_a_screen_or_two() -> None:
    long = {
        f"{path.relative_to(PACKAGE)} {node.name}": node.end_lineno - node.lineno + 1
        for path in FILES.values()
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and node.end_lineno is not None
        and node.end_lineno - node.lineno >= MOST_LINES_OF_A_FUNCTION
    }
    assert {name: count for name, count in long.items() if name not in LONG_FUNCTIONS} == {}
    assert set(LONG_FUNCTIONS) <= set(long), "shorter by now: take it off the list"


@pytest.mark.parametrize("folder", sorted({path.parent for path in FILES.values()}), ids=lambda path: path.name)
def test_each_folder_says_what_it_is(folder: Path) -> None:
    told = ast.get_docstring(ast.parse((folder / "__init__.py").read_text()))
    assert told, f"{folder.relative_to(PACKAGE)}/__init__.py has no docstring: say what lies here"


def test_rooms_are_entered_by_their_front_doors() -> None:
    """A room's `__init__` lists what other rooms may import; what nobody imports any more is closed again."""
    arrows: dict[str, set[str]] = defaultdict(set)
    for module, others in imported().items():
        for other in others:
            room = other.split(".")[1]
            inside = other.removesuffix(".__init__").removeprefix(f"tuneport.{room}").removeprefix(".")
            if room in ROOMS and room != module.split(".")[1] and inside:
                arrows[room].add(inside)
    doors = {room: getattr(importlib.import_module(f"tuneport.{room}"), "OPEN_TO_OTHER_ROOMS", ()) for room in ROOMS}
    assert {room: arrows[room] - set(doors[room]) for room in ROOMS if arrows[room] - set(doors[room])} == {}
    assert {room: set(doors[room]) - arrows[room] for room in ROOMS if set(doors[room]) - arrows[room]} == {}


def test_rows_of_the_database_stay_in_their_room() -> None:
    """What leaves the room of jobs is a frozen record: `lifecycle/schema/records.py`."""
    tables = "tuneport.lifecycle.schema.tables"
    inside = "tuneport.lifecycle."
    assert [module for module, others in imported().items() if tables in others and not module.startswith(inside)] == []


def test_routes_see_one_project_only() -> None:
    """In the gateway only what belongs to no request asks for all projects: its own threads and its health."""
    unscoped = {str(path.relative_to(PACKAGE)) for path in FILES.values() if "unscoped" in path.read_text()}
    own = {"app.py", "background.py", "gateway.py", "jobs/job_maker.py", "jobs/results.py"}
    assert {name for name in unscoped if name.startswith("serve/")} == {f"serve/{name}" for name in own}
