"""One rule for numbers, wherever they are shown."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

import tuneport
from tuneport.formatting import ago, compact, counted, duration, hours, money, number, since, size

AMOUNTS = (0, 0.0042, 0.000012, 0.05, 0.0995, 0.5, 12.345, 999.4, 1234.5, -3, 2_000_000)


def test_money() -> None:
    assert [money(each) for each in AMOUNTS] == [
        "$0", "$0.0042", "$0.000012", "$0.05", "$0.0995", "$0.50", "$12.35", "$999.40", "$1,234.50", "-$3.00",
        "$2,000,000.00",
    ]  # fmt: skip
    assert [money(each, short=True) for each in AMOUNTS] == [
        "$0", "$0.0042", "$0.000012", "$0.05", "$0.0995", "$0.50", "$12.3", "$999", "$1,234", "-$3.00", "$2M",
    ]  # fmt: skip
    assert money(None) == money(float("nan")) == "unknown"


def test_counts() -> None:
    assert [compact(each) for each in (0.5, 12.345, 100, 25_000, 999_600, 22_524_312, 3e12)] == [
        "0.5", "12.3", "100", "25,000", "1M", "22.5M", "3T",
    ]  # fmt: skip
    assert [counted(each, "record") for each in (0, 1, 2, 1000)] == [
        "0 records", "1 record", "2 records", "1,000 records",
    ]  # fmt: skip
    assert (number(None), number(1234), number(0.123456)) == ("-", "1,234", "0.1235")


def test_sizes() -> None:
    assert [size(each) for each in (0, 999, 1000, 99_960, 999_600, 1_500_000, 2_400_000_000, 10**15)] == [
        "0 B", "999 B", "1.0 kB", "100 kB", "1.0 MB", "1.5 MB", "2.4 GB", "1,000,000 GB",
    ]  # fmt: skip


def test_times() -> None:
    assert [duration(each) for each in (None, -1, 0.4, 59.6, 125, 3900, 200_000)] == [
        "-", "0 s", "0 s", "1 min 00 s", "2 min 05 s", "1 h 05 min", "55 h 33 min",
    ]  # fmt: skip
    assert [duration(each, short=True) for each in (None, 5, 125, 3900)] == ["-", "0m05s", "2m05s", "1h05m"]
    moments = [datetime.now(UTC) - timedelta(seconds=each) for each in (5, 125, 7300, 200_000)]
    assert [ago(each) for each in moments] == ["just now", "2 min ago", "2 h ago", "2 days ago"]
    assert [since(each) for each in moments] == ["under a minute", "2 min", "2 h 01 min", "55 h 33 min"]


@pytest.mark.parametrize("by_hand", [r"\$\{[^{}]*:,?\.?\d?[fg]\}", r"""else ["']s["']\)?"""])
def test_no_other_file_writes_amounts_by_hand(by_hand: str) -> None:
    sources = [path for path in Path(tuneport.__file__).parent.rglob("*.py") if "testing" not in path.parts]
    found = [path.name for path in sources if re.search(by_hand, path.read_text()) and path.name != "formatting.py"]
    assert found == (["rate.py"] if "else" in by_hand else [])


def test_hours_as_bills_count_them() -> None:
    assert [hours(seconds) for seconds in (0, 900, 5400.0, 360_000)] == ["0.00 h", "0.25 h", "1.50 h", "100.00 h"]
