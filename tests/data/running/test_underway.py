"""What is under way: which of several activities is shown, and that long work says how far it is."""

from __future__ import annotations

from tuneport.data.running import parallel
from tuneport.data.running.underway import report_data_activity, shown_data_activity


def shown() -> tuple[str, float | None] | None:
    found = shown_data_activity()
    return None if found is None else (found[0].words, found[1])


def test_the_last_with_a_known_share_is_shown_else_the_last() -> None:
    assert shown() is None
    with report_data_activity("checking a"):
        assert shown() == ("checking a", None)
        with report_data_activity("reading a", lambda: 0.5):
            with report_data_activity("waiting"):
                assert shown() == ("reading a", 0.5)
            with report_data_activity("unpacking", lambda: 1.5):
                assert shown() == ("unpacking", 1.0)
        assert shown() == ("checking a", None)


class Looking:
    """A worker that looks at what is shown with each piece of rows."""

    def __init__(self, number: int) -> None:
        self.shares: list[float | None] = []

    def add(self, rows: list[parallel.Row]) -> None:
        found = shown_data_activity()
        self.shares.append(None if found is None else found[1])

    def result(self) -> list[float | None]:
        return self.shares


def test_a_small_dataset_tells_how_far_its_rows_are() -> None:
    rows = ((number, b"{}") for number in range(400))
    assert parallel.map_rows(rows, f"{__name__}:Looking") == [[0.0, 0.25, 0.5, 0.75]]
