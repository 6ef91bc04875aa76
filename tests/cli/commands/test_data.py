"""check --html, review and preview as commands: what they print, write and return."""

from __future__ import annotations

import io
import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from rich.console import Console

from tests.support.commands import Finish
from tests.support.folders import FIXTURES
from tests.support.rows import chat, write
from tests.support.tiny import tiny_model
from tuneport.cli.main import main
from tuneport.cli.views.check import print_check_report
from tuneport.data.checks import Finding, Verdict, check_dataset
from tuneport.data.checks.finding import CheckEvidence
from tuneport.data.formats import FORMATS
from tuneport.installation import install_extra

TRAIN = FIXTURES / "datasets" / "support_intents.train.jsonl"
Run = Callable[..., tuple[int, Any, str]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    def command(*arguments: str) -> tuple[int, Any, str]:
        code = main(list(arguments))
        out, error = capsys.readouterr()
        return code, json.loads(out) if "--json" in arguments and code == 0 else out, error

    return command


def test_check_writes_the_report_beside_its_document(run: Run, isolated: Path) -> None:
    code, document, error = run("check", str(TRAIN), "--html", "report.html", "--json")
    assert code == 0 and document["ok"] and "report.html" in error
    page = (isolated / "report.html").read_text(encoding="utf-8")
    assert page.startswith("<!doctype html>") and all(finding["check"] in page for finding in document["findings"])
    code, _, error = run("check", str(TRAIN), "--html", "nowhere/report.html")
    assert code == 2 and "the folder does not exist" in error


@pytest.mark.parametrize("width", [60, 80, 120])
def test_the_table_fits_and_says_all_of_it(tmp_path: Path, width: int) -> None:
    rows = [chat(f"same question {number % 3}", f"answer {number} " + "x" * 300) for number in range(12)]
    rows += [chat("mail me", "at eve@company-of-eve.com, " * 5), chat("steer\x1b[31m", "\x1b[2J")]
    report = check_dataset(write(tmp_path / "train.jsonl", [*rows, chat("again", "again"), chat("again", "again")]))
    places = tuple(CheckEvidence((5,), "email e***@c***.com") for _ in range(5))
    report = replace(report, findings=(*report.findings, Finding("places", Verdict.WARN, "5 places", places, "look")))
    screen = Console(file=io.StringIO(), width=width, highlight=False)
    print_check_report(report, console=screen, every=True)
    text = screen.file.getvalue()  # type: ignore[attr-defined]
    lines = text.splitlines()
    assert max(map(len, lines)) <= width and not any(line != line.rstrip() for line in lines)
    assert "\x1b" not in text
    for finding in report.findings:
        assert any(line.startswith(f"{finding.verdict.value} {finding.check} ") for line in lines)
        if finding.verdict.value != "pass":
            assert " ".join(finding.fix.split())[:20] in " ".join(text.split())
    assert "(5 times)" in text and re.fullmatch(r"\d failed, \d warnings?, \d passed", lines[-1])


@pytest.mark.parametrize("width", [40, 80])
def test_what_failed_comes_first_and_what_passed_in_one_line(tmp_path: Path, width: int) -> None:
    rows = [chat(f"where is number {number}?", "here" if number % 2 else "there") for number in range(60)]
    report = check_dataset(write(tmp_path / "train.jsonl", [*rows, rows[0]]), task="classification")
    bad = Finding("broken", Verdict.FAIL, "it is broken", (), "mend it")
    report = replace(report, findings=(*report.findings, bad))
    screen = Console(file=io.StringIO(), width=width, highlight=False)
    print_check_report(report, console=screen)
    lines = screen.file.getvalue().splitlines()  # type: ignore[attr-defined]
    assert max(map(len, lines)) <= width
    verdicts = [line[:4] for line in lines[1:-1] if line[:5] in ("fail ", "warn ", "pass ")]
    warned = sum(finding.verdict == "warn" for finding in report.findings)
    assert verdicts == ["fail", *["warn"] * warned, "pass"] and warned > 0
    told = " ".join(" ".join(lines).split())
    passed = [finding for finding in report.findings if finding.verdict == "pass"]
    assert ", ".join(finding.check for finding in passed) + " there 31, here 30" in told
    assert not any(finding.message in told for finding in passed)


def test_check_all_says_what_the_passed_checks_say(run: Run) -> None:
    schema = "records are in the format openai"
    assert schema in " ".join(run("check", str(TRAIN), "--all")[1].split())
    assert schema not in " ".join(run("check", str(TRAIN))[1].split())


def test_review_ends_with_ctrl_c_and_tells_where_the_verdicts_are(isolated: Path) -> None:
    data = write(isolated / "train.jsonl", [chat(f"q{number}", f"a{number}") for number in range(9)])
    for arguments, judged in ([], 1), (["--json"], 2):
        process = _start("review", str(data), "--sample", "4", *arguments)
        try:
            address = _address(process)
            answer = httpx.post(f"{address}judge", json={"index": judged - 1, "verdict": "reject"}, trust_env=False)
            assert answer.status_code == 200
            process.send_signal(signal.SIGINT)
            out, _ = process.communicate(timeout=300)
        finally:
            process.kill()
        assert process.returncode == 0
        if arguments:
            document = json.loads(out)
            assert document["rejected"] == document["judged"] == 2 and document["left_open"] == 2
        else:
            assert out == f"1 of 4 judged: 0 accepted, 1 rejected, 0 edited; the verdicts: {data}.review.jsonl\n"
    assert len(Path(f"{data}.review.jsonl").read_text().splitlines()) == 2


def test_review_ends_when_it_is_finished(isolated: Path) -> None:
    process = _start("review", str(write(isolated / "train.jsonl", [chat("q", "a")])))
    try:
        answer = httpx.post(f"{_address(process)}finish", json={}, trust_env=False)
        assert answer.status_code == 200 and answer.json()["left_open"] == 1
        out, _ = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 0 and out.startswith("0 of 1 judged")


def test_review_without_its_server_says_what_to_install(
    run: Run, isolated: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    code, _, error = run("review", str(write(isolated / "train.jsonl", [chat("q", "a")])))
    assert code == 2 and error == f"error: review needs the uvicorn package: {install_extra('serve')}\n"


def test_review_says_what_is_wrong(run: Run, isolated: Path) -> None:
    write(isolated / "bad.jsonl", [{"messages": [{"role": "user"}]}])
    write(isolated / "good.jsonl", [chat("q", "a")])
    with socket.create_server(("127.0.0.1", 0)) as listening:
        taken = listening.getsockname()[1]
        for arguments, words in (
            (["missing.jsonl"], "does not exist"),
            (["bad.jsonl"], "holds no good record"),
            (["good.jsonl", "--flagged", "missing.json"], "cannot be read"),
            (["good.jsonl", "--flagged", "good.jsonl"], "is no report"),
            (["good.jsonl", "--port", str(taken)], f"127.0.0.1:{taken} cannot be listened at"),
        ):
            code, _, error = run("review", *arguments)
            assert code == 2 and words in error and error.count("\n") == 1, (arguments, error)


def test_preview_of_a_model_here_and_one_elsewhere(run: Run, tmp_path: Path, isolated: Path) -> None:
    model = tiny_model(tmp_path / "tiny")
    (isolated / "tuneport.toml").write_text(f'[models.bot]\nlocal = "{model}"\nopenai = "gpt-4.1-mini"\n')
    code, out, error = run("preview", str(TRAIN), "--model", "bot", "--backend", "local", "--rows", "1")
    assert code == 0, error
    assert "<|im_start|>assistant\n«" in out and "240 records" in " ".join(out.split())
    code, document, _ = run("preview", str(TRAIN), "-m", "bot", "-b", "openai", "--line", "7", "--json")
    assert code == 0 and [row["line"] for row in document["rows"]] == [7, 8, 9]
    assert json.loads(document["rows"][0]["uploaded"]) == json.loads(TRAIN.read_text().splitlines()[6])
    code, _, error = run("preview", str(TRAIN), "--model", "nonsense")
    assert code == 2 and "no backend offers 'nonsense'" in error


def _start(*arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tuneport.cli.main", *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=dict(os.environ))


def _address(process: Any) -> str:
    line = process.stderr.readline()
    found = re.search(r"http://127\.0\.0\.1:\d+/\S+/", line)
    assert found, line + process.stderr.read()
    return found[0]


def test_check_lists_what_is_wrong_and_does_not_point_to_itself(run: Run, tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", ["{,}", "[", '{"a": }'])
    code, _, error = run("check", str(path))
    lines = error.splitlines()
    assert code == 2 and [line.split(": ")[0] for line in lines] == [f"{path}:2", f"{path}:3", "error"]
    assert lines[2].startswith(f"error: {path}:1: is not JSON") and lines[2].endswith("(and 2 more above)")
    code, _, error = run("convert", str(path), "--to", "openai", "-o", str(tmp_path / "b.jsonl"))
    assert error.endswith("(and 2 more: `tuneport check` lists them)\n")
    path = write(tmp_path / "b.jsonl", ["{,}"] * 90)
    _, _, error = run("check", str(path))
    assert error.endswith("(and 89 more, of which the first 49 are listed above)\n")


def test_one_record_is_one(run: Run, tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", [chat("a", "b")])
    _, shown, _ = run("check", str(path))
    assert shown.startswith("1 record, ") and "1 records" not in shown
    _, shown, _ = run("convert", str(path), "--to", "alpaca", "-o", str(tmp_path / "b.jsonl"))
    assert shown.startswith("1 record from openai")


def test_convert_names_every_format_in_its_help(run: Run) -> None:
    code, out, _ = run("convert", "--help")
    named = set(re.findall(r"[a-z]+(?:-[a-z]+)*", out))
    assert code == 0 and set(FORMATS) <= named, set(FORMATS) - named


def test_commands_map_columns(run: Run, finished: Finish, tmp_path: Path) -> None:
    path = tmp_path / "faq.csv"
    path.write_text("question,answer\n" + "".join(f"ask {number},reply {number}\n" for number in range(12)))
    mapped = ("--map", "instruction=question", "--map", "output=answer")
    code, document, error = run("preview", str(path), "--model", "m", "--backend", "openai", *mapped, "--json")
    assert code == 2 and "no_such" not in error  # an unknown model, not an unknown column
    code, document, error = run(
        "preview", str(path), "--model", "gpt-4.1-mini", "--backend", "openai", *mapped, "--json"
    )
    assert code == 0 and "ask 0" in document["rows"][0]["uploaded"] and document["rows"][0]["at"] == "line 2"
    code, document, error = run("compare", str(path), "--model", "gpt-4.1-mini", *mapped, "--json")
    assert (code, document["rows"]) == (0, 12)
    assert finished(str(path), "--model", "m", "--backend", "fake", *mapped)
