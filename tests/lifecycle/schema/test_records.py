"""Records are what their rows are: the same columns, and nobody changes them."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, fields
from pathlib import Path
from typing import Any

import pytest

from tuneport.lifecycle.schema.records import JobRecord
from tuneport.lifecycle.store.part import ROWS
from tuneport.lifecycle.store.store import Store
from tuneport.types import DataFile, PreparedData, TuneSpec


@pytest.mark.parametrize("record", ROWS, ids=lambda record: record.__name__)
def test_a_record_has_the_columns_of_its_row(record: Any) -> None:
    assert {field.name for field in fields(record)} == set(ROWS[record].__table__.columns.keys())


def test_what_is_written_and_what_is_read_are_the_same_and_frozen(tmp_path: Path) -> None:
    store = Store(f"sqlite:///{tmp_path / 'store.db'}").unscoped()
    file = DataFile(path=Path("f.jsonl"), sha256="a" * 64, format="openai", rows=1, bytes=2)
    spec = TuneSpec(model="m", dataset=Path("f.jsonl"), seed=3)
    added = store.jobs.add(spec, PreparedData(training=file), backend="fake", model="m", quote=None)
    assert isinstance(added, JobRecord) and added.tune_spec == spec
    assert added == store.jobs.get(added.id) == store.jobs.all()[0] == store.jobs.page(limit=1, after=None)[0][0]
    claimed = store.leases.claim(added.id, "me")
    written = store.leases.write(added.id, "me", remote_id="r")
    assert claimed is not None and claimed.remote_id is None and written == store.jobs.find_by_remote_id("fake", "r")
    view = store.listing.get(added.id)
    assert view is not None and view.record == written and view.request is None
    with pytest.raises(FrozenInstanceError):
        written.note = "changed"  # type: ignore[misc]
    store.close()
