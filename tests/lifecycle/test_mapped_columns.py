"""How data is read goes with the job: what is prepared again after a crash is read in the same way."""

from __future__ import annotations

from pathlib import Path

from pytest import CaptureFixture

from tests.support.rows import write
from tuneport.cli.views.job import print_job
from tuneport.lifecycle.service import JobService, describe_job
from tuneport.lifecycle.verbs import submit
from tuneport.settings import Settings
from tuneport.types import TuneSpec

COLUMNS = {"instruction": "question", "output": "answer"}


def table(path: Path) -> Path:
    path.write_text("question,answer,id\n" + "".join(f"ask {number},reply {number},{number}\n" for number in range(20)))
    return path


def test_a_prepare_that_is_made_again_maps_them_too(tmp_path: Path, workspace: JobService) -> None:
    held_out = write(tmp_path / "held.jsonl", [{"instruction": "x", "output": "y"}])  # as `split` writes it
    spec = TuneSpec(model="base", dataset=table(tmp_path / "a.csv"), validation=held_out, columns=COLUMNS)
    row = workspace.submit(spec, backend="fake")
    assert row.tune_spec.columns == COLUMNS and row.prepared_data.training.rows == 20
    assert "ask 7" in row.prepared_data.training.path.read_text()
    row.prepared_data.training.path.unlink()
    assert row.prepared_data.validation is not None
    row.prepared_data.validation.path.unlink()
    done = workspace.drive(row.id, poll_seconds=0.01)
    assert done.status == "succeeded" and row.prepared_data.training.path.is_file()


def test_python_code_maps_them(tmp_path: Path, settings: Settings) -> None:
    job = submit(
        table(tmp_path / "a.csv"),
        model="base",
        backend="fake",
        columns=COLUMNS,
        settings=settings,
        confirm=False,
        anyway=True,
    )
    assert job.wait(poll_seconds=0.01).status.value == "succeeded"


def test_a_prepare_that_is_made_again_reads_the_format_that_was_given(tmp_path: Path, workspace: JobService) -> None:
    rows = [
        {"messages": [{"role": "user", "content": f"ask {number}"}, {"role": "assistant", "content": "reply"}]}
        | {"prompt": "a", "completion": "b"}  # by which the rows would be told
        for number in range(20)
    ]
    files = [write(tmp_path / "a.jsonl", rows), write(tmp_path / "held.jsonl", rows[7:9])]
    spec = TuneSpec(model="base", dataset=files[0], validation=files[1], format="openai")
    row = workspace.submit(spec, backend="fake")
    training, held_out = row.prepared_data.training, row.prepared_data.validation
    assert row.tune_spec.format == "openai" and held_out is not None
    assert "ask 7" in training.path.read_text() and "ask 7" in held_out.path.read_text()
    training.path.unlink()
    held_out.path.unlink()
    done = workspace.drive(row.id, poll_seconds=0.01)
    assert done.status == "succeeded" and training.path.is_file()


def test_show_says_how_the_data_is_read(tmp_path: Path, workspace: JobService, capsys: CaptureFixture[str]) -> None:
    spec = TuneSpec(
        model="base",
        dataset=table(tmp_path / "a.csv"),
        columns=COLUMNS,
        format="alpaca",
        ignored_columns=("id", "lot"),
        keep_unliked=True,
    )
    row = workspace.submit(spec, backend="fake")
    print_job(row)
    told = capsys.readouterr().out
    for line in ("format", "alpaca"), ("columns", "instruction=question, output=answer"), ("ignored", "id, lot"):
        assert f"  {line[0]:<13} {line[1]}\n" in told
    assert "bad answers   trained on, too (--keep-unliked)" in told
    document = describe_job(row)
    assert document["format"] == "alpaca" and document["ignored_columns"] == ["id", "lot"] and document["keep_unliked"]
