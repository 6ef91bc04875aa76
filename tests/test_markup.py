"""Markup lies in templates, which escape: no string of Python holds any, and no template switches the escaping off."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

import pytest

from tests.test_layers import PACKAGE

TAGS = (
    "a abbr article aside b base bdi body br button circle code dd defs del details div dl dt em figure footer form g "
    "h1 h2 h3 h4 h5 h6 head header hr html i iframe img input ins label legend li line link main mark meta nav ol "
    "option output p path polygon polyline pre progress rect script section select small span strong style sub summary "
    "sup svg table tbody td template text textarea tfoot th thead time title tr u ul use video"
).split()
MARKUP = re.compile(rf"(?<!\?P)</?(?:{'|'.join(TAGS)})(?=[\s/>]|$)|<!--|<!doctype", re.I)
"""An element's beginning or end, also where the string breaks off at a hole. Not `(?P<code>`, a group of a regex."""
NO_PAGES = {
    "data/checks/rows/markup.py": "looks for markup in rows",
    "data/formats/shared/media.py": "the places of pictures and films in a dataset's texts",
    "data/rows/signals.py": "looks for places of pictures and films in texts",
    "testing/emulators/faults.py": "the HTML with which a broken proxy answers",
    "testing/emulators/openai/azure.py": "the HTML with which Azure answers",
    "train/output/model_card.py": "a comment in Markdown marks the place of a paragraph",
}
"""Files whose strings hold markup and no page, and why."""
SOURCES = {str(path.relative_to(PACKAGE)): path for path in sorted(PACKAGE.rglob("*.py"))}
TEMPLATES = {str(path.relative_to(PACKAGE)): path for path in sorted(PACKAGE.rglob("*.html"))}
BY_SCRIPT = {"serve/local_pages/review.html"}
"""Pages without a hole for data: their scripts fetch it, and set it as text."""


def markup(source: str) -> Iterator[str]:
    """Yield the strings of a module that hold markup, pieces of f-strings among them; docstrings are none."""
    tree = ast.parse(source)
    told = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, (str, bytes)) and id(node) not in told:
            text = node.value if isinstance(node.value, str) else node.value.decode("latin-1")
            if MARKUP.search(text):
                yield text


@pytest.mark.parametrize(
    "source",
    [
        "x = '<p>'",
        "x = f'<div class={y}>'",
        "x = '<svg ' + y",
        "x = 'a</td>'",
        "x = b'<h1>'",
        "x = Markup('<b>{}</b>').format(y)",
        "x = '<br/>'",
        "def f():\n    '''<p>'''\n    return y + '<p'",
    ],
)
def test_markup_in_strings_is_found(source: str) -> None:
    assert list(markup(source))


@pytest.mark.parametrize("source", ["'''<p>'''", "x = '(?P<code>a)'", "x = '<model> <pad> a < b </think>'", "x = 1"])
def test_what_is_no_markup_is_left_alone(source: str) -> None:
    assert not list(markup(source))


def test_no_string_of_python_holds_markup() -> None:
    found = {name: each for name, path in SOURCES.items() if (each := list(markup(path.read_text(encoding="utf-8"))))}
    assert {name: each for name, each in found.items() if name not in NO_PAGES} == {}, "write a template beside it"
    assert set(found) == set(NO_PAGES), "no markup any more: take it off the list"


def test_only_what_a_template_rendered_passes_for_markup() -> None:
    makers = {name for name, path in SOURCES.items() if re.search(r"\bMarkup\(", path.read_text(encoding="utf-8"))}
    assert makers == {"pages/templates.py"}


@pytest.mark.parametrize("name", sorted(TEMPLATES.keys() - BY_SCRIPT))
def test_no_template_switches_the_escaping_off(name: str) -> None:
    template = TEMPLATES[name].read_text(encoding="utf-8")
    assert not re.search(r"\|\s*safe\b|autoescape|\bxmlattr\b", template)
    for tag in re.findall(r"<[a-z][^<]*?>", re.sub(r"\{%.*?%\}", "", template), re.S):
        bare = re.sub(r'"[^"]*"', "", tag)
        assert "{{" not in bare, f"a hole in an attribute stands in quotes: {tag}"
        assert not re.search(r"\s(?:on\w+|style)\s*=", bare), f"neither scripts nor styles in place: {tag}"
    for script in re.findall(r"<(?:script|style)\b[^>]*>(.*?)</(?:script|style)>", template, re.S):
        assert "{{" not in script, "HTML's escaping is none for scripts and styles"


def test_links_lead_where_the_code_says() -> None:
    """Escaping does not stop `javascript:` in a link: each that begins with data is one of these."""
    begun = {
        f"{name}: {hole}"
        for name, path in TEMPLATES.items()
        for hole in re.findall(r"(?:href|src|action)=\"\{\{ (.*?) \}\}", path.read_text(encoding="utf-8"))
        if not hole.startswith("asset(")
    }
    paths_of_our_own = {
        f"serve/dashboard/templates/{each}"
        for each in (
            "compare.html: job.path", "job.html: job.path", "jobs.html: first", "jobs.html: older",
            "macros.html: job.path", "models.html: each.job.path", "base.html: path",
        )
    }  # fmt: skip
    assert begun == paths_of_our_own | {"workflows/comparison/page.html: source|cut"}
