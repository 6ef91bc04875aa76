"""What a notebook shows of a result."""

from __future__ import annotations

import re
from pathlib import Path

import tuneport
from tuneport.pages.notebook import MOST_ROWS, render_notebook_view

EVIL = '<img src=x onerror="alert(1)">\u202e'


def test_all_text_is_escaped() -> None:
    page = render_notebook_view(
        EVIL, [(EVIL, EVIL)], ruling=(EVIL, "fail"), head=(EVIL, "b"), rows=[(EVIL, EVIL)], notes=[EVIL]
    )
    assert "<img" not in page and page.count("&lt;img") == 8
    assert page.count("<bdi") == page.count("</bdi>") == 9


def test_a_long_table_is_cut_and_says_so() -> None:
    page = render_notebook_view(
        "t", head=("a", "b"), rows=[(number, "x" * 50) for number in range(MOST_ROWS + 3)], marks=["warn"]
    )
    assert page.count('<th scope="row"') == MOST_ROWS and "and 3 more" in page and page.count('class="warn"') == 1


def test_every_result_is_shown(dataset: Path) -> None:
    dataset.write_text(dataset.read_text().replace("Question number 3?", "<script>alert(1)</script>"))
    report, table = tuneport.check(dataset), tuneport.compare(dataset, model="gpt-4.1-mini")
    plan = tuneport.plan(dataset, model="llama-3.2-1b-instruct", gpu="L4")
    advice = tuneport.advise(dataset, need="style", prompt="fails", few_shot="fails")
    preview = tuneport.preview(dataset, model="gpt-4.1-mini", backend="openai", rows=12)
    for shown in (report, table, plan, advice, preview):
        assert repr(shown).startswith(f"{type(shown).__name__}(")
        assert len(repr(shown)) < 400 and "\n" not in repr(shown)
        page = shown._repr_html_()
        assert page.startswith('<div class="tuneport-view">') and "<script" not in page
        assert re.findall(r"</?div", page).count("<div") == re.findall(r"</?div", page).count("</div")
    assert (
        repr(table) == f"Comparison(12 rows, sft, {len(table.choices)} choices)"
        and "gpt-4.1-mini" in table._repr_html_()
    )
    assert "&lt;script&gt;alert(1)" in preview._repr_html_() and "12 records" in repr(preview)
    assert "sample-size fail" in repr(report) and "12 rows" in repr(report)
    assert "learning_rate" in plan._repr_html_() and "GiB" in plan._repr_html_()


def test_rows_of_a_program_are_shown_without_their_file() -> None:
    page = tuneport.check([{"prompt": f"Q{number}", "completion": f"A{number}"} for number in range(3)])._repr_html_()
    assert '<b class="title"><bdi dir="auto">Dataset(&lt;list: 3 rows&gt;)' in page
