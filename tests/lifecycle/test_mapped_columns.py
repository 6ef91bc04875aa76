"""Other names of columns go with the job: what is prepared again after a crash is read in the same way."""

from __future__ import annotations

from pathlib import Path

from tests.support.rows import write
from tuneport.lifecycle.service import JobService
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
