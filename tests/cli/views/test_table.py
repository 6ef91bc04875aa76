"""Listings at 80 columns, in a pipe, with --wide and with --tsv: no id, backend or status is cut."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from rich.text import Text

from tests.support.commands import Finish, Run
from tests.support.emulated import LeadTo
from tests.support.folders import FIXTURES
from tests.support.terminal import pretend_terminal, without_styles
from tuneport.cli.views import output
from tuneport.cli.views.table import Column, CommandTable
from tuneport.testing.emulators.openai.emulator import OpenAIEmulator
from tuneport.testing.emulators.together.emulator import TogetherEmulator

TRAIN = str(FIXTURES / "datasets" / "support_intents.train.jsonl")
COLUMNS = (Column("id"), Column("model", cut=True), Column("size", rank=1, right=True), Column("age", rank=2))


@pytest.fixture(autouse=True)
def as_at_the_start() -> Iterator[None]:
    yield
    output.reset_command_output()


def table(*rows: tuple[str | Text, ...]) -> CommandTable:
    made = CommandTable(COLUMNS)
    for row in rows:
        made.add_row(*row)
    return made


def test_what_fits_is_shown_whole(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    pretend_terminal(monkeypatch)
    table(("job-1", "tiny", "12 kB", "3 h ago")).print()
    out, error = capsys.readouterr()
    assert without_styles(out).splitlines()[2].split() == ["job-1", "tiny", "12", "kB", "3", "h", "ago"] and error == ""


def test_columns_are_left_out_by_rank_and_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pretend_terminal(monkeypatch)
    row = ("j" * 40, "m" * 30, "s" * 8, "a" * 8)
    table(row).print()
    out, error = capsys.readouterr()
    assert row[0] in without_styles(out) and row[2] in without_styles(out) and "aaa" not in without_styles(out)
    assert f"{'m' * 27}…" in without_styles(out), "the rest of the width, and no less"
    assert max(map(len, without_styles(out).splitlines())) <= 80
    assert error == "left out: age; --wide shows all\n"


def test_rank_0_stays_whole_even_if_it_is_wider_than_the_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pretend_terminal(monkeypatch)
    row = ("j" * 90, "m" * 30, "size", "age")
    table(row).print()
    out, error = capsys.readouterr()
    assert row[0] in without_styles(out) and error == "left out: size, age; --wide shows all\n"


def test_a_column_that_wraps_goes_on_below(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    pretend_terminal(monkeypatch)
    made = CommandTable((Column("id"), Column("path", wrap=True)))
    made.add_row("j" * 50, "p" * 60)
    made.print()
    out = without_styles(capsys.readouterr().out)
    assert out.count("p") - out.count("path") == 60 and "…" not in out and max(map(len, out.splitlines())) <= 80


@pytest.mark.parametrize("pipe", [True, False])
def test_in_a_pipe_and_with_wide_all_is_whole(
    pipe: bool, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: not pipe)
    monkeypatch.setattr(output, "wide", not pipe)
    row = ("j" * 90, "m" * 300, "size", "age")
    table(row).print()
    out, error = capsys.readouterr()
    assert without_styles(out).splitlines()[2].split() == list(row) and error == ""


def test_tsv_is_names_and_rows_without_styles_tabs_or_line_ends(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(output, "as_tsv", True)
    table(("a\tb", Text("red", "red"), "", "two\nlines\x1b[2J")).print()
    assert capsys.readouterr().out == "id\tmodel\tsize\tage\na b\tred\t\ttwo lines\ufffd[2J\n"


# --- the commands -----------------------------------------------------------------------------------------------------


@pytest.fixture
def job(run: Run, lead_to: LeadTo) -> dict[str, Any]:
    openai = lead_to(OpenAIEmulator(pace=600))
    words = ("submit", "--yes", "--anyway", TRAIN, "--model", "gpt-4.1-mini", "--backend", "openai", "--json")
    code, job, error = run(*words)
    assert code == 0, error
    openai.advance(3600)
    assert run("watch", job["id"])[0] == 0
    assert run("token", "create", "a-program-with-a-long-name-that-is-not-short-at-all", "--scope", "submit")[0] == 0
    return dict(job)


LISTINGS: dict[str, tuple[str, ...]] = {
    "jobs": ("id", "status", "backend"),
    "jobs --costs": ("id", "status", "backend"),
    "files": ("id", "backend"),
    "checkpoints JOB": ("id", "model"),
    "token list": ("id", "scope", "state"),
    "audit": ("action", "subject"),
    "backends": ("name",),
}


def test_no_listing_cuts_an_id_a_backend_or_a_status(
    run: Run, job: dict[str, Any], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for words, keys in LISTINGS.items():
        command = [word.replace("JOB", job["id"]) for word in words.split()]
        code, document, _ = run(*command, "--json")
        assert code == 0 and document["data"], words
        expected = {str(row[key]) for row in document["data"] for key in keys}
        _, piped, _ = run(*command)
        assert [each for each in expected if f"{each} " not in piped.replace("\n", " ")] == [], words
        cells = [cell for line in run(*command, "--tsv")[1].splitlines() for cell in line.split("\t")]
        assert [each for each in expected if not any(cell.startswith(each) for cell in cells)] == [], words
        with monkeypatch.context() as patch:
            pretend_terminal(patch)
            screen = without_styles(run(*command)[1])
        assert max(map(len, screen.splitlines())) <= 80, words
        # A long name goes on below: it is looked for without the line ends.
        run_together = re.sub(r"\s+", "", screen)
        assert [each for each in expected if each not in screen and "".join(each.split()) not in run_together] == [], (
            words,
            screen,
        )


def test_jobs_shows_the_data_and_the_model(run: Run, job: dict[str, Any]) -> None:
    assert "support_intents.train -> gpt-4.1-mini" in run("jobs")[1]


def test_tsv_can_be_read_by_columns(run: Run, job: dict[str, Any]) -> None:
    names, row = (line.split("\t") for line in run("jobs", "--tsv")[1].splitlines())
    assert dict(zip(names, row, strict=True)) | {"created": "", "loss": "", "progress": ""} == {
        "job": job["id"],
        "status": "succeeded",
        "backend": "openai",
        "data -> model": "support_intents.train -> gpt-4.1-mini",
        "progress": "",
        "loss": "",
        "created": "",
    }


def test_tsv_and_json_are_not_both(run: Run, isolated: Any) -> None:
    code, document, _ = run("jobs", "--tsv", "--json")
    assert code == 2 and "give one of them" in document["error"]["message"]


def test_an_endpoint_is_listed_whole(
    run: Run, finished: Finish, lead_to: LeadTo, isolated: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (isolated / "tuneport.toml").write_text("[backends.together.options]\npoll_interval = 0.01\n")
    together = lead_to(TogetherEmulator())
    job = finished(TRAIN, "--model", "llama-3.1-8b-instruct", "--backend", "together")
    _, endpoint, _ = run("deploy", job, "--yes", "--json")
    together.advance(600)
    pretend_terminal(monkeypatch)
    screen = without_styles(run("deployments")[1])
    assert endpoint["id"] in screen and {"together", "ready"} <= set(screen.split())
    assert max(map(len, screen.splitlines())) <= 80


def test_a_local_file_is_named_by_its_beginning_on_a_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from tuneport.cli.commands import files
    from tuneport.lifecycle.worker.remote_files import JobRemoteFileEntry

    paths = [f"/home/files/{start}{'0' * 60}.jsonl" for start in ("97e7aaaa", "12f3bbbb")]
    entries = [JobRemoteFileEntry("local", path, "train.jsonl", 10, None, "both", True, ()) for path in paths]
    assert files._find_named_file(entries, paths[0]) == entries[:1]
    assert files._find_named_file(entries, "12f3bbbb0000") == entries[1:]
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    files._print(entries)
