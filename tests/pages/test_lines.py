"""Line charts: what is drawn is where the numbers are, and the text around it says the same."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.document import HOSTILE, Document
from tuneport.pages.lines import STYLES, ChartAxis, ChartLine, ChartMark, draw_line_chart


def plain(number: float) -> str:
    return f"{number:g}"


@settings(deadline=None)
@given(st.floats(1e-6, 1e9), st.floats(1.001, 1e9), st.booleans())
def test_an_axis_has_few_round_ticks_and_all_on_it(low: float, factor: float, logarithmic: bool) -> None:
    axis = ChartAxis(low, low * factor, plain, logarithmic)
    assert (axis.position_of(axis.low), axis.position_of(axis.high)) == pytest.approx((0, 1))
    ticks = axis.ticks()
    assert len(ticks) <= 6 and ticks == sorted(set(ticks))
    assert all(-1e-6 <= axis.position_of(tick) <= 1 + 1e-6 for tick in ticks)


def test_powers_of_ten_and_round_steps() -> None:
    assert ChartAxis(1, 1e4, plain, logarithmic=True).ticks() == [1, 10, 100, 1_000, 10_000]
    assert ChartAxis(0.02, 9e9, plain, logarithmic=True).ticks() == [0.1, 1e2, 1e5, 1e8]
    assert ChartAxis(0, 95, plain).ticks() == [0, 50]
    assert ChartAxis(0, 12, plain, at=(0, 3, 6, 9, 12, 15)).ticks() == [0, 3, 6, 9, 12]
    assert ChartAxis(1, 100, plain, logarithmic=True).position_of(10) == pytest.approx(0.5)
    assert ChartAxis(1, 100, plain, logarithmic=True).position_of(0) < 0


def test_lines_marks_and_bands_are_where_their_numbers_are() -> None:
    line = ChartLine("first", [(0, 0), (10, 100)], [(0, 0, 50), (10, 100, 150)], "by the token")
    marks = [ChartMark(5, 50, "they meet"), ChartMark(5, 500, "outside")]
    drawn = draw_line_chart(
        [line], ChartAxis(0, 10, plain), ChartAxis(0, 100, plain), label="dollars", marks=marks, here=(2, "you")
    )
    document = Document(drawn)
    paths = [attributes["d"] for tag, attributes in document.elements if tag == "path"]
    assert paths[1] == "M0.0 240.0 L1000.0 0.0"
    assert paths[0] == "M0.0 120.0 L1000.0 -120.0 L1000.0 0.0 L0.0 240.0Z"
    (circle,) = [attributes for tag, attributes in document.elements if tag == "circle"]
    assert (circle["cx"], circle["cy"]) == ("50.00%", "138.0")
    (here,) = [attributes for _, attributes in document.elements if attributes.get("class") == "here"]
    assert here["x1"] == "20.00%"
    texts = " ".join(document.texts)
    assert "they meet" in texts and "outside" not in texts and "by the token" in texts and "you" in texts


def test_numbers_of_marks_that_are_close_do_not_cover_each_other() -> None:
    marks = [ChartMark(5 + 0.01 * number, 50, "m") for number in range(4)]
    drawn = draw_line_chart(
        [ChartLine("a", [(0, 1), (10, 1)])], ChartAxis(0, 10, plain), ChartAxis(0, 100, plain), label="", marks=marks
    )
    numbers = [
        each for tag, each in Document(drawn).elements if tag == "text" and "number" in (each.get("class") or "")
    ]
    assert len({each["y"] for each in numbers}) == 4


def test_no_more_lines_than_can_be_told_apart_and_none_of_nothing() -> None:
    many = [ChartLine(f"line {number}", [(0, number), (1, number)]) for number in range(STYLES + 3)]
    document = Document(draw_line_chart(many, ChartAxis(0, 1, plain), ChartAxis(0, 10, plain), label="many"))
    assert sum(tag == "li" for tag, _ in document.elements) == STYLES
    assert draw_line_chart([], ChartAxis(0, 1, plain), ChartAxis(0, 1, plain), label="none") == ""


@pytest.mark.parametrize("words", HOSTILE, ids=range(len(HOSTILE)))
def test_names_stay_text(words: str) -> None:
    drawn = draw_line_chart(
        [ChartLine(words, [(0, 1), (1, 1)], note=words)],
        ChartAxis(0, 1, lambda number: words),
        ChartAxis(0, 2, lambda number: words),
        label=words,
        marks=[ChartMark(0.5, 1, words)],
        here=(0.5, words),
    )
    drawn.encode("utf-8")
    Document(drawn).expect_no_way_out()
