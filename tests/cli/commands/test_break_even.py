"""compare's break-even on the terminal, its page and its file of rows, as the command writes them."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path

import pytest

from tests.support.commands import Run
from tests.support.document import Document
from tests.support.folders import FIXTURES

TRAIN = str(FIXTURES / "datasets" / "support_intents.train.jsonl")
MODELS = ("--model", "gpt-4.1-mini", "--model", "llama-3.1-8b-instruct")


def test_the_page_and_the_rows_are_written_beside_the_table(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    page, rows = tmp_path / "report.html", tmp_path / "rows.csv"
    files = ("--html", str(page), "--csv", str(rows))
    code, out, error = run("compare", TRAIN, *MODELS, "--instead-of", "$2000", "--all", *files)
    assert code == 0, error
    words = " ".join(out.split())
    assert words.startswith("Instead of what you use ($2,000.00 a month), at 25,000 requests a month: llama-3.1-8b-")
    assert "Break-even at 25,000 requests a month" in words and "you pay $2,000.00 a month" in words
    assert max(map(len, out.splitlines())) <= 80
    assert str(page) in error and str(rows) in error
    Document(page.read_text(encoding="utf-8")).expect_no_way_out()
    with rows.open(newline="", encoding="utf-8") as file:
        assert {row["backend"] for row in csv.DictReader(file, strict=True)} >= {"openai", "together", "local"}


def test_the_answer_comes_first_and_fits_two_screens(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    code, out, error = run("compare", TRAIN, "--requests", "200k", "--instead-of", "gpt-4.1")
    assert code == 0, error
    lines = out.splitlines()
    assert lines[0].startswith("Keep gpt-4.1 ($") and max(map(len, lines)) <= 80
    assert len(lines) <= 48, "two screens of 24 lines"
    assert "--all shows" in out and "Break-even" not in out and " shuts down\n" in out
    for title in ("cheapest now", "cheapest that lasts", "cheapest that you host"):
        assert title in out


def test_the_document_has_the_break_even(run: Run) -> None:
    _, document, _ = run("compare", TRAIN, *MODELS, "--instead-of", "2000", "--json")
    assert document["instead_of"]["expected"] == 2000
    assert {"cross_overs", "pairs", "unit", "stated", "looked_up_to"} <= set(document["break_even"])
    mini = next(row for row in document["choices"] if row["backend"] == "openai")
    assert mini["break_even"]["instead_of"] == "$2,000 a month (today)"
    saved = 2000 - mini["inference_per_month"]["expected"]
    assert mini["break_even"]["payback_months"]["months"] == pytest.approx(mini["training"]["expected"] / saved)


def test_the_dataset_is_never_the_output_and_nonsense_is_one_line(run: Run, tmp_path: Path) -> None:
    data = tmp_path / "train.jsonl"
    shutil.copy(TRAIN, data)
    before = data.read_bytes()
    for option in ("--html", "--csv"):
        code, _, error = run("compare", str(data), *MODELS, option, str(data))
        assert code == 2 and "is the input" in error and data.read_bytes() == before
    twice = str(tmp_path / "out")
    code, _, error = run("compare", str(data), *MODELS, "--html", twice, "--csv", twice)
    assert code == 2 and "is named twice" in error
    code, _, error = run("compare", str(data), *MODELS, "--instead-of", "gpt-99")
    assert code == 2 and "no price per token for 'gpt-99'" in error and len(error.strip().splitlines()) == 1
