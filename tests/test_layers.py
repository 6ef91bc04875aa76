"""The house rules that a machine can check: who imports whom, and what is imported at start."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import tuneport

PACKAGE = Path(tuneport.__file__).parent

# Each room may import those on lower levels only; rooms on one level do not know each other.
LEVELS = [
    [
        "errors",
        "client_rules",
        "deprecation",
        "formatting",
        "gpus",
        "heavy_imports",
        "installation",
        "methods",
        "private",
        "rate_limits",
        "spelling",
        "version",
    ],
    ["types", "devices", "digests", "files", "sandbox", "validation"],
    [
        "manifests",
        "settings",
        "infer_protocol",
        "run_protocol",
        "training_options",
        "device_queue",
        "pages",
        "openai_encodings",
    ],
    ["base_models", "data"],
    ["estimate", "curves"],
    ["router", "advisor", "backends"],
    ["lifecycle", "scoring", "testing"],
    ["workflows"],
    ["serve", "aio"],
    ["cli"],
    ["__main__"],
]
# The child processes: they know little, and nobody imports them.
KNOWN_TO_CHILDREN = {
    "errors", "types", "digests", "files", "formatting", "gpus", "heavy_imports", "installation", "methods", "private",
    "infer_protocol", "run_protocol", "openai_encodings", "sandbox", "validation", "training_options", "devices",
    "spelling", "device_queue", "data", "base_models",
}  # fmt: skip
CHILDREN = {room: KNOWN_TO_CHILDREN for room in ("train", "infer")}
# Others test with it: nothing imports it, and its own fake provider is opened by the name in providers/fake.toml.
FOR_OTHERS = "testing"
LEVEL_OF = {room: level for level, rooms in enumerate(LEVELS) for room in rooms}
HEAVY = {
    "torch", "transformers", "peft", "trl", "litellm", "openai", "together", "anthropic", "datasets", "bitsandbytes",
}  # fmt: skip


def room_of(path: Path) -> str:
    first = path.relative_to(PACKAGE).parts[0]
    return first.removesuffix(".py")


def imports(tree: ast.AST) -> list[str]:
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute here"
            found += [f"{node.module}.{alias.name}" for alias in node.names]
    return found


SOURCES = sorted(path for path in PACKAGE.rglob("*.py") if path.name != "__init__.py" or path.parent != PACKAGE)


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_point_down(path: Path) -> None:
    room = room_of(path)
    assert room in LEVEL_OF or room in CHILDREN, f"{room} is no room: add it to the picture in README.md and to LEVELS"
    for name in imports(ast.parse(path.read_text())):
        parts = name.split(".")
        if parts[0] != "tuneport" or len(parts) == 1 or parts[1] == room:
            continue
        other = parts[1]
        assert other != FOR_OTHERS, f"{path.name} imports {name}: what is for tests is imported by tests only"
        assert other not in CHILDREN, f"{path.name} imports {name}: child processes are started, not imported"
        if room in CHILDREN:
            assert other in CHILDREN[room], f"{path.name} imports {name}: {room} may know {sorted(CHILDREN[room])} only"
        else:
            assert LEVEL_OF[other] < LEVEL_OF[room], f"{path.name} imports {name}, which is not below it"


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_heavy_libraries_are_imported_inside_functions(path: Path) -> None:
    if room_of(path) in CHILDREN:
        return
    tree = ast.parse(path.read_text())
    top = [node for node in tree.body if isinstance(node, (ast.Import, ast.ImportFrom))]
    for name in imports(ast.Module(top, [])):
        assert name.split(".")[0] not in HEAVY, f"{path.name} imports {name} at module level"


def test_only_the_contract_imports_a_test_tool() -> None:
    named = [path for path in SOURCES if "pytest" in path.read_text()]
    found = [path for path in named if "pytest" in imports(ast.parse(path.read_text()))]
    assert found == [PACKAGE / "testing" / "contract.py"]


@pytest.mark.parametrize("code", ["import tuneport", "from tuneport.cli.main import main; main(['--help'])"])
def test_nothing_heavy_is_imported_at_start(code: str) -> None:
    heavy = sorted(HEAVY | {"fastapi", "sqlalchemy", "tiktoken", "httpx", "jinja2", "pyarrow", "zstandard"})
    script = f"import sys\n{code}\nprint(sorted(set({heavy!r}) & set(sys.modules)), file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stderr.strip() == "[]"
