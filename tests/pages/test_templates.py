"""The templates of all pages: what they write is text, and every colour can be seen in light, in dark and in print."""

from __future__ import annotations

import re
from importlib.resources import files

import pytest
from jinja2 import DictLoader, UndefinedError

from tuneport.pages.templates import page_templates, render_template

STYLE = (files("tuneport") / "pages" / "page.css").read_text(encoding="utf-8")
LIGHT, DARK, PRINT = (
    dict(re.findall(r"--(\w+): (#\w+);", block)) for block in re.findall(r":root \{(.*?)\}", STYLE, re.S)
)


def luminance(colour: str) -> float:
    digits = colour.removeprefix("#")
    digits = "".join(2 * each for each in digits) if len(digits) == 3 else digits
    parts = [int(digits[place : place + 2], 16) / 255 for place in (0, 2, 4)]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    darker, lighter = sorted((luminance(one), luminance(other)))
    return (lighter + 0.05) / (darker + 0.05)


@pytest.mark.parametrize("colours", [LIGHT, DARK, LIGHT | PRINT], ids=["light", "dark", "print"])
def test_everything_stands_out_from_what_is_behind_it(colours: dict[str, str]) -> None:
    assert colours.keys() == LIGHT.keys()
    for behind in ("paper", "card"):
        for name in ("ink", "quiet", "pass", "warn", "fail"):
            assert contrast(colours[name], colours[behind]) >= 4.5, f"WCAG for text: {name} on {behind}"
        for name in ("bar", "s0", "s1", "s2", "s3", "s4", "s5"):
            assert contrast(colours[name], colours[behind]) >= 3, f"WCAG for graphics: {name} on {behind}"


@pytest.fixture
def templates(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Templates of a test, in place of the package's."""
    made: dict[str, str] = {}
    monkeypatch.setattr(page_templates(), "loader", DictLoader(made))
    monkeypatch.setattr(page_templates(), "cache", None)
    return made


def test_what_is_filled_in_is_text_whatever_it_looks_like(templates: dict[str, str]) -> None:
    templates["page"] = """<p title="{{ one }}">{{ one }}</p>{{ two }}"""
    page = render_template("page", one="""{{ two }}<b>"'&""", two="{% raw %}")
    safe = "{{ two }}&lt;b&gt;&#34;&#39;&amp;"
    assert page == f"""<p title="{safe}">{safe}</p>{{% raw %}}"""
    templates["around"] = "{{ inner }}"
    assert render_template("around", inner=page) == page, "what was rendered is escaped once"


def test_what_is_missing_is_an_error_and_no_gap(templates: dict[str, str]) -> None:
    templates["page"] = "<p>{{ told.words }}</p>"
    with pytest.raises(UndefinedError, match="words"):
        render_template("page", told={})


def test_texts_are_cut_and_hold_nothing_that_a_document_may_not(templates: dict[str, str]) -> None:
    templates["page"] = "{{ told }}|{{ told|cut(3) }}|{{ nothing }}"
    assert render_template("page", nothing=None, told="\x00\x08\x1f\x7f\x85\ud800\t\n👩é") == "������\t\n👩é|���…|"
    assert len(render_template("page", nothing=None, told="x" * 50_000)) == 20_001 + len("|xxx…|")
