"""Finds the job of a submit among those that a provider lists, by the token that the job carries."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

from tuneport.types import Found, JobState

SHORTEST_MARK = 10
"""Characters of a token that tell it from all others: Together's suffix has room for no more."""

TOKEN = re.compile(r"[0-9a-f]{10,32}")
"""A token, or the beginning of one. What else stands in its place (a redacted one, say) marks nothing."""


def carries_submit_token(mark: str | None, token: str) -> bool:
    """Return whether a mark is that of the token: the whole token, or its beginning if the provider cuts it."""
    return mark is not None and len(mark) >= SHORTEST_MARK and token.startswith(mark)


def find_submitted_provider_job(
    jobs: Iterable[JobState], token: str, mark_of: Callable[[JobState], str | None], *, most: int, provider: str
) -> Found:
    """Search the listed jobs for a submit: FOUND with the oldest job that carries the token.

    Returns UNKNOWN if the list has more than `most` jobs and the token was not among the first of them.
    """
    carrying: dict[str, JobState] = {}
    unmarked: dict[str, JobState] = {}
    marks_seen = False
    for number, job in enumerate(jobs):
        if number >= most:
            if carrying:
                break
            return Found.unknown(
                f"{provider} lists more than {most:,} jobs, and the job is not among the first of them"
            )
        mark = mark_of(job)
        if mark is None:
            unmarked[job.remote_id] = job
            continue
        marks_seen = True
        if carries_submit_token(mark, token):
            carrying[job.remote_id] = job
    if not carrying:
        return Found.absent(unmarked=list(unmarked.values()), marks_seen=marks_seen)
    first, *others = sorted(carrying.values(), key=_age)
    return Found.found(first, others=others)


def _age(job: JobState) -> tuple[float, str]:
    return (float("inf") if job.created_at is None else job.created_at.timestamp(), job.remote_id)
