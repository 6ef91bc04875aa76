"""Moments and sizes as people read them on a page."""

from __future__ import annotations

from datetime import UTC, date, datetime

from markupsafe import Markup


def moment(value: datetime) -> Markup:
    """To the minute, in UTC, and exactly for machines."""
    return _time(value, "%Y-%m-%d %H:%M")


def clock(value: datetime) -> Markup:
    """To the second, without the year: for many moments one below the other."""
    return _time(value, "%m-%d %H:%M:%S")


def _time(value: datetime, shape: str) -> Markup:
    exact = value.astimezone(UTC)
    return Markup('<time datetime="{}" title="{} UTC">{}</time>').format(
        f"{exact:%Y-%m-%dT%H:%M:%SZ}", f"{exact:%Y-%m-%d %H:%M:%S}", exact.strftime(shape)
    )


def ago(value: datetime) -> str:
    """Coarse, so that a page that says it changes once a minute at most."""
    seconds = (datetime.now(UTC) - value).total_seconds()
    if seconds < 60:
        return "just now"
    if seconds < 3600:
        return f"{seconds // 60:.0f} min ago"
    if seconds < 48 * 3600:
        return f"{seconds // 3600:.0f} h ago"
    return f"{seconds // 86400:.0f} days ago"


def since(value: datetime) -> str:
    """How long it is by now; as coarse as `ago`."""
    minutes = int((datetime.now(UTC) - value).total_seconds()) // 60
    if minutes < 1:
        return "under a minute"
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02} min"


def month(value: str) -> str:
    """November 2026, of 2026-11."""
    return f"{date.fromisoformat(f'{value}-01'):%B %Y}"


def size(count: int) -> str:
    for unit in ("bytes", "kB", "MB"):
        if count < 1000:
            return f"{count:,.0f} {unit}" if unit == "bytes" else f"{count:,.1f} {unit}"
        count = count / 1000  # type: ignore[assignment]
    return f"{count:,.1f} GB"
