"""Rate limits of clients per minute, answered in OpenAI's format, so that its SDK waits and retries."""

from __future__ import annotations

import math

from tuneport.rate_limits import Allowance, RateLimiter, retry_after_headers
from tuneport.serve.http.errors import Refusal
from tuneport.settings import GatewaySettings

REQUESTS_PER_MINUTE, JOBS_PER_MINUTE = 6000, 60
"""Limits of a token, unless `[gateway]` sets others: far above polling a hundred jobs, far below what slows others
down. Without tokens there is one user, who needs no limit."""


class GatewayRateLimits:
    """The gateway's rate limits: requests and jobs of a client, and failed logins of an address."""

    def __init__(self, given: GatewaySettings) -> None:
        self._requests = RateLimiter(given.requests_per_minute or REQUESTS_PER_MINUTE)
        self._jobs = RateLimiter(given.jobs_per_minute or JOBS_PER_MINUTE)
        self._failures = RateLimiter(given.failures_per_minute)
        self._local_requests = given.requests_per_minute is not None
        self._local_jobs = given.jobs_per_minute is not None

    def count_request(self, token_id: str | None, address: str | None) -> Allowance | None:
        """Count a request. Returns None if it is not counted. Raises Refusal if it is above the limit."""
        if token_id is None and not self._local_requests:
            return None
        left = self._requests.try_acquire(token_id or f"address {address}")
        if left.wait:
            raise _too_many("requests", left)
        return left

    def count_job(self, token_id: str | None, address: str | None) -> None:
        if token_id is None and not self._local_jobs:
            return
        left = self._jobs.try_acquire(token_id or f"address {address}")
        if left.wait:
            raise _too_many("fine-tuning jobs", left)

    def count_failed_login(self, address: str | None) -> None:
        """Count a wrong token. Raises Refusal if there are too many from this address; right tokens are never
        refused."""
        left = self._failures.try_acquire(f"address {address}")
        if left.wait:
            raise _too_many("wrong keys", left)


def _too_many(what: str, left: Allowance) -> Refusal:
    seconds = math.ceil(left.wait)
    return Refusal(
        429,
        f"Rate limit reached for {what} per minute: Limit {left.limit}, Requested 1. Please try again in {seconds}s.",
        code="rate_limit_exceeded",
        kind="requests",
        headers=left.headers() | retry_after_headers(left.wait),
    )
