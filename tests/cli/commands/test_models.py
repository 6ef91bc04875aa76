from __future__ import annotations

import pytest

from tests.support.commands import Run
from tuneport.workflows.models import models


def test_no_name_is_cut_at_eighty_columns(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    code, out, note = run("models")
    assert code == 0 and "US dollars for 1M tokens" in note
    lines = [line.rstrip() for line in out.splitlines()]
    assert max(map(len, lines)) <= 80 and "…" not in out
    words = {word.strip(" ,") for line in lines for word in line.split()}
    for each in models().offers:
        assert each.name in words and each.id in words
        assert each.shuts_down is None or each.shuts_down.isoformat() in words
    assert "at least $4.00 a job" in lines and "takes no new jobs from 2027-01-06 on" in lines


def test_one_backend_and_the_machine(run: Run) -> None:
    code, out, _ = run("models", "--backend", "local")
    assert code == 0 and "16.4 GB to get" in out and "openai" not in out
    code, document, _ = run("models", "-b", "openai", "-b", "together", "--json")
    assert code == 0 and {row["backend"] for row in document["data"]} == {"openai", "together"}
    assert run("models", "-b", "openai", "--local")[0] == 0
    code, _, error = run("models", "-b", "anthropic")
    assert code == 2 and "tunes no models" in error


def test_a_name_that_is_too_long_for_its_column_has_a_line_of_its_own(run: Run, isolated: object) -> None:
    from pathlib import Path

    name = "organisation-with-a-long-name/a-model-with-a-longer-name-than-fits-its-column-instruct"
    (Path(str(isolated)) / "tuneport.toml").write_text(
        f"""[backends.ours]
like = "openai"
base_url = "http://127.0.0.1:1/v1"
api_key_env = "OURS_KEY"
[[backends.ours.models]]
id = "{name}"
training = [{{ method = "sft", usd_per_mtok = 2.0 }}]
"""
    )
    code, out, _ = run("models", "-b", "ours")
    lines = [line.strip() for line in out.splitlines()]
    assert code == 0 and name in lines and any(line.startswith("$2.00/M") for line in lines)
