"""Dates and times as pages write them, with the exact value for machines."""

from __future__ import annotations

from datetime import UTC, date, datetime

from markupsafe import Markup


def dashboard_moment(value: datetime) -> Markup:
    """Format a moment to the minute, in UTC, with the exact value for machines."""
    return _time(value, "%Y-%m-%d %H:%M")


def dashboard_clock_time(value: datetime) -> Markup:
    """Format a moment to the second, without the year, for lists of many moments."""
    return _time(value, "%m-%d %H:%M:%S")


def _time(value: datetime, shape: str) -> Markup:
    exact = value.astimezone(UTC)
    return Markup('<time datetime="{}" title="{} UTC">{}</time>').format(
        f"{exact:%Y-%m-%dT%H:%M:%SZ}", f"{exact:%Y-%m-%d %H:%M:%S}", exact.strftime(shape)
    )


def dashboard_month(value: str) -> str:
    """Format a month: `2026-11` becomes "November 2026"."""
    return f"{date.fromisoformat(f'{value}-01'):%B %Y}"
