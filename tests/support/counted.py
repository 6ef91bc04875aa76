"""Counts that tests make, printed at the end of a run: how often a file is read, how many files a change touches."""

from __future__ import annotations

from typing import Any

COUNTED = "counted"
"""A property that a test records with `record_property`; pytest-xdist carries it over from the processes."""


def print_counted(terminalreporter: Any) -> None:
    """Print each count with the test that made it."""
    reports = [report for found in terminalreporter.stats.values() for report in found]
    counted = sorted(
        (report.nodeid, told)
        for report in reports
        if getattr(report, "when", None) == "teardown" or not getattr(report, "passed", True)
        for name, told in getattr(report, "user_properties", ())
        if name == COUNTED
    )
    if counted:
        terminalreporter.section("counted", sep="-")
        for node, told in counted:
            terminalreporter.write_line(f"{node.partition('::')[2]}: {told}")
