"""Translates a provider's status into ours. An unknown word is never terminal and never an exception."""

from __future__ import annotations

import logging
from collections.abc import Mapping

from tuneport.types import JobStatus

_log = logging.getLogger(__name__)
_reported: set[tuple[str, str]] = set()


def parse_provider_status(provider: str, table: Mapping[str, JobStatus], raw_status: str) -> JobStatus:
    """Look `raw_status` up, in any case. An unknown status counts as running and is logged once per process."""
    status = table.get(raw_status.lower())
    if status is not None:
        return status
    if (provider, raw_status) not in _reported:
        _reported.add((provider, raw_status))
        _log.warning("%s reports the unknown status %r; treating the job as running", provider, raw_status)
    return JobStatus.RUNNING
