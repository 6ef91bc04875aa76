"""The report of an evaluation in headless Chromium: on a desk, on a phone, in light and in dark."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.support.evaluations import rich
from tests.support.tabs import opened

pytestmark = pytest.mark.full


@pytest.mark.parametrize("width", [1280, 400])
def test_the_report_fits_and_keeps_nobody_out(chromium: Any, tmp_path: Path, width: int) -> None:
    rich().write_html(tmp_path / "report.html")
    with opened(chromium, tmp_path.as_uri(), width=width, bypass_csp=True) as tab:
        tab.see("/report.html")
        tab.told("Not sure")
        tab.judged()
