"""`check` for a model, and `clean`, from the command line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.tiny import chat_rows, tiny_model
from tuneport.cli.main import main


def test_clean_says_what_it_removed_and_where_the_log_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [
        {"messages": [{"role": "user", "content": f"{q} {n}"}, {"role": "assistant", "content": "Fine, thanks."}]}
        for n, q in enumerate(["How is the weather in the north today", "What should we cook for the guests"] * 6)
    ]
    mine = {
        "messages": [{"role": "user", "content": "Mail me"}, {"role": "assistant", "content": "anna.bauer@web.de?"}]
    }
    data = tmp_path / "d.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in [*rows, rows[0], mine]))
    out = tmp_path / "clean.jsonl"

    assert main(["clean", str(data), "-o", str(out), "--redact", "--keep", "duplicates.near"]) == 0
    said, noted = capsys.readouterr()
    assert "13 of 14 records kept, 1 of them changed" in said and f"1 removed; what and why: {out}.log.jsonl" in said
    assert "duplicates.exact" in noted and "personal.email" in noted
    assert (
        "[EMAIL_1]" in out.read_text()
        and "bauer" not in out.read_text() + (tmp_path / "clean.jsonl.log.jsonl").read_text()
    )
    assert main(["clean", str(data), "-o", str(out), "--drop", "everything", "--force"]) == 2


def test_clean_shows_what_it_repaired(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data, out = tmp_path / "d.jsonl", tmp_path / "clean.jsonl"
    rows = chat_rows(12)
    rows[3]["messages"][-1]["content"] = "Le cafÃ© est fermÃ©."
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert main(["clean", str(data), "-o", str(out), "--repair", "--keep", "duplicates"]) == 0
    said, noted = capsys.readouterr()
    assert "12 of 12 records kept, 1 of them changed" in said
    assert "1  repair.mojibake" in noted
    assert "line 4: …Le cafÃ© est fermÃ©.… is now …Le café est fermé.…" in noted


def test_check_counts_with_the_models_own_vocabulary(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = tiny_model(tmp_path / "tiny", context=40)
    data = tmp_path / "d.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in chat_rows(4)))

    code = main(["check", str(data), "--model", str(model), "--backend", "local", "--json"])
    document = json.loads(capsys.readouterr().out)
    lengths = next(each for each in document["findings"] if each["check"] == "lengths")
    assert code == 2 and lengths["verdict"] == "fail" and lengths["count"] == 4
    assert document["tokens"]["context"] == 40 and not document["tokens"]["approximate"]
    assert main(["check", str(data), "--model", "gpt-4.1-mini", "--backend", "openai", "--json"]) == 2
    document = json.loads(capsys.readouterr().out)
    assert (document["tokens"]["encoding"], document["tokens"]["context"]) == ("o200k_base", 65_536)


def test_a_report_does_not_overwrite_the_data(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = tmp_path / "d.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in chat_rows(4)))
    before = data.read_text()
    assert main(["check", str(data), "--html", str(data)]) == 2
    assert "is the input; name another" in capsys.readouterr().err and data.read_text() == before
