from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.faults.killing import Children
from tests.faults.table import TABLE


@pytest.fixture(scope="session")
def children() -> Iterator[Children]:
    with Children() as started:
        yield started


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """The whole table where the whole bench ran or somebody wants to see it, else one line."""
    if not TABLE.cells:
        return
    if "full" in (config.getoption("markexpr") or "").replace("not full", "") or config.get_verbosity() > 0:
        for line in TABLE.lines():
            terminalreporter.write_line(line)
    else:
        terminalreporter.write_line(TABLE.summary() + "; all of them and their table: pytest -m full tests/faults")
