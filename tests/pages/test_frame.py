"""The frame of all pages: gaps are filled once, and every colour can be seen in light, in dark and in print."""

from __future__ import annotations

import re
from importlib.resources import files
from pathlib import Path

import pytest

from tuneport.pages.frame import render_html_page

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


def test_a_gap_within_a_text_is_not_filled(tmp_path: Path) -> None:
    template = tmp_path / "body.html"
    template.write_text("<p>{{one}}</p><p>{{two}}</p>")
    page = render_html_page("{{body}} <b>", template, {"one": "{{two}}", "two": "2"})
    assert "<p>{{two}}</p><p>2</p>" in page and "<title>{{body}} &lt;b&gt;</title>" in page
