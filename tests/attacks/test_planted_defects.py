"""The attacks bite: defects of the kind that each is there to find are noticed."""

from __future__ import annotations

import pytest

from tests.attacks.planted_defects import ROOT, all_defects, noticed

SAMPLE = [defect for defect in all_defects() if int(defect.name.rpartition("-")[2]) < 2]
"""Two of each file run with the tests; all of them by `python -m tests.attacks.planted_defects`."""


def test_every_planted_defect_has_its_place() -> None:
    for defect in all_defects():
        source = ROOT / "src" / "tuneport" / defect.file.removeprefix("src/tuneport/")
        assert defect.planted_in(source.read_text(encoding="utf-8"))
        assert (ROOT / defect.test.partition("::")[0]).is_file(), defect.test
    assert len(SAMPLE) >= 10


@pytest.mark.full
@pytest.mark.parametrize("defect", SAMPLE, ids=lambda defect: defect.name)
def test_a_planted_defect_is_noticed(defect: object) -> None:
    seen, said = noticed(defect)  # type: ignore[arg-type]
    assert seen, said
