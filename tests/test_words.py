"""The house's English: docstrings begin with a verb, one name stands for one class, no words that only we know."""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from tests.test_layers import PACKAGE
from tests.test_structure import FILES

SOURCES = {path.relative_to(PACKAGE): path for path in FILES.values()}

VERBS = frozenset(
    """
    Accept Add Allow Announce Answer Append Apply Arm Ask Begin Bound Bring Build Call Cancel Catch Change Check Choose
    Claim Clean Close Cluster Combine Compare Compile Compute Configure Continue Convert Copy Count Create Cut Decide
    Decode Delete Deploy Dequantise Derive Describe Disable Do Download Draw Drive Drop End Escape Estimate Evaluate
    Exclude Expect Extend Fetch Fill Find Fine-tune Fit Flag Flush Follow Forget Format Fuse Give Go Halve Handle Hash
    Hold Ignore Import Install Invent Join Judge Keep Kill Leave Let Limit Link List Listen Load Lock Log Look Make
    Mark Match Measure Merge Migrate Move Normalise Note Open Parse Pause Plan Point Poll Prepare Print Provide Publish
    Put Quote Raise Rank Reach Read Recommend Record Redirect Reduce Refresh Refuse Register Release Remove Rename
    Render Renew Repeat Replace Report Reset Resolve Restore Resume Return Revoke Route Run Say Schedule Score Search
    Send Serve Set Settle Show Shuffle Silence Skip Split Spread Start Stop Store Stream Submit Swap Switch Take Talk
    Tell Train Translate Undo Unlock Unpack Update Upload Use Validate Wait Wake Watch Work Wrap Write Yield
    """.split()
)
"""With what the docstring of a function may begin. A verb that is missing here is added; nothing but a verb is."""

PRIVATE_WORDS = re.compile(
    r"\b(?:wish|wishes|heed|heeds|hurry|bury|nudge|prospects|settle_in|look_around|let_go|hang_up|by heart|"
    r"nobody|whoever|somebody|anybody|that which|known_by_heart|words_shared|call_names)\b|"
    r"class (?:Asked|Told)\b|\(card\)"
)
"""Private names and inverted clauses that the field does not know."""
ALLOWED = {
    "data/checks/rows/generated.py": "what models write",
    "data/checks/rows/endings.py": "how letters end",
    "scoring/metrics/__init__.py": "names of earlier releases, which are still understood",
    "lifecycle/document.py": "a key of earlier releases",
    "lifecycle/schema/migrations/versions/v2_due_times.py": "the name of a column",
    "lifecycle/schema/tables.py": "the name of a column",
    "lifecycle/store/requests.py": "a stored value",
    "serve/http/access.py": "the name of a caller without a token in the log",
    "serve/wire/native.py": "a key of the job's document",
}
"""Files that may have such words, and why."""
WIRE = "as the library has it, and as the gateway's OpenAPI document names its schema, which clients know"
SAME_NAME = {
    "Job": f"the public class, its twin with coroutines; {WIRE}",
    "Workspace": "the public class, and its twin with coroutines",
    "JobEvent": WIRE,
    "Checkpoint": WIRE,
    "Comparison": WIRE,
    "Delta": "text of an answer in the inference protocol, and in the gateway's OpenAPI document",
    "ImagePart": WIRE,
    "Model": "the base of the library's pydantic models, and OpenAI's object, in the gateway's OpenAPI document",
    "ModelCatalogue": WIRE,
    "Term": WIRE,
    "TextPart": WIRE,
    "Wandb": WIRE,
    "Score": "a request of the inference protocol, named by its `op`, and a metric's value",
}
"""Classes that share a name, and why. Private ones are not looked at."""


@cache
def tree_of(path: Path) -> ast.AST:
    return ast.parse(path.read_text(encoding="utf-8"))


def functions(tree: ast.AST) -> Iterator[tuple[ast.FunctionDef | ast.AsyncFunctionDef, str]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and (told := ast.get_docstring(node)):
            yield node, told


def first_word(docstring: str) -> str:
    return docstring.split()[0].rstrip(",.:;")


def test_docstrings_without_a_verb_are_found() -> None:
    tree = ast.parse('def a():\n    "Of a job."\ndef b():\n    "Return it."\ndef c():\n    "`x`, or nothing."')
    assert [node.name for node, told in functions(tree) if first_word(told) not in VERBS] == ["a", "c"]


def test_docstrings_of_functions_begin_with_a_verb() -> None:
    wrong = [
        f"{path}:{node.lineno} {node.name}: {told[:60]}"
        for path, file in SOURCES.items()
        for node, told in functions(tree_of(file))
        if first_word(told) not in VERBS
    ]
    assert wrong == [], "begin with a verb and its object: Return the ..., Raise ... if ..."


OPENINGS = frozenset(
    """
    Above Also As At Below By For From How In It None Of On So That Those To What When Where Whether Which Who With
    """.split()
)
"""With what the docstring of a module or a class may not begin: say first what it is."""


def test_docstrings_of_modules_and_classes_say_what_they_are() -> None:
    wrong = [
        f"{path}: {told[:60]}"
        for path, file in SOURCES.items()
        for node in ast.walk(tree_of(file))
        if isinstance(node, ast.Module | ast.ClassDef) and (told := ast.get_docstring(node))
        if first_word(told) in OPENINGS
    ]
    assert wrong == []


def private_words(text: str) -> list[str]:
    lines = enumerate(text.splitlines(), 1)
    return [f"line {number}: {line.strip()}" for number, line in lines if PRIVATE_WORDS.search(line)]


def test_private_words_are_found() -> None:
    assert private_words("a = 1\ndef nudge(self): ...\nnobody asked\n4 to 32 (card)\nwishlist") == [
        "line 2: def nudge(self): ...",
        "line 3: nobody asked",
        "line 4: 4 to 32 (card)",
    ]


def test_no_private_words_in_what_is_done() -> None:
    pages = {path.relative_to(PACKAGE): path for path in PACKAGE.rglob("*.html")}
    texts = SOURCES | pages
    found = {str(path): private_words(file.read_text(encoding="utf-8")) for path, file in texts.items()}
    found = {path: lines for path, lines in found.items() if lines}
    assert {path: lines for path, lines in found.items() if path not in ALLOWED} == {}
    assert set(ALLOWED) <= set(found), "has none any more: take it off the list"


def test_one_name_stands_for_one_class() -> None:
    classes: dict[str, list[str]] = defaultdict(list)
    for path, file in SOURCES.items():
        for node in ast.walk(tree_of(file)):
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                classes[node.name].append(str(path))
    several = {name: places for name, places in classes.items() if len(places) > 1}
    assert {name: places for name, places in several.items() if name not in SAME_NAME} == {}
    assert set(SAME_NAME) <= set(several), "no longer the name of two: take it off the list"
