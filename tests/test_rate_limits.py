"""Limits of requests a minute, with a clock of their own, and the headers that ask to wait."""

from __future__ import annotations

from email.utils import formatdate

import httpx
import pytest

from tuneport.rate_limits import LONGEST_WAIT, RateLimiter, parse_retry_after, retry_after_headers

NOW = 1_900_000_000


class Clock:
    def __init__(self) -> None:
        self.time, self.slept = 1000.0, 0.0

    def sleep(self, seconds: float) -> None:
        self.time += seconds
        self.slept += seconds


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"Retry-After": "120"}, 120.0),
        ({"retry-after": " 1.5 "}, 1.5),
        ({"retry-after": "0"}, 0.0),
        ({"retry-after-ms": "250", "retry-after": "1"}, 0.25),
        ({"retry-after-ms": "soon", "retry-after": "1"}, 1.0),
        ({"retry-after-ms": "nan"}, None),
        ({"retry-after-ms": "-5", "retry-after": "2"}, 2.0),
        ({"retry-after": "-5"}, None),
        ({"retry-after": "inf"}, None),
        ({"retry-after": "1e9"}, LONGEST_WAIT),
        ({"retry-after": "\u0661\u0662"}, None),
        ({"retry-after": "9" * 300}, LONGEST_WAIT),
        ({"retry-after-ms": "9" * 5000}, LONGEST_WAIT),
        ({"retry-after": "in an hour"}, None),
        ({"retry-after": "Fri, 99 Nov 2026 00:00:00 GMT"}, None),
        ({"retry-after": formatdate(NOW + 90, usegmt=True), "date": formatdate(NOW, usegmt=True)}, 90.0),
        ({"retry-after": formatdate(NOW - 90, usegmt=True), "date": formatdate(NOW, usegmt=True)}, 0.0),
        ({"retry-after": formatdate(NOW + 10**7, usegmt=True), "date": formatdate(NOW, usegmt=True)}, LONGEST_WAIT),
        ({"retry-after": formatdate(NOW, usegmt=True), "date": "yesterday"}, None),
    ],
)
def test_what_a_server_asks_for(headers: dict[str, str], seconds: float | None) -> None:
    encoded = {name: value.encode() for name, value in headers.items()}
    assert parse_retry_after(httpx.Headers(encoded)) == seconds


@pytest.mark.parametrize(("seconds", "asked"), [(0.0, 0.001), (0.2, 0.2), (2.0, 2.0), (30.25, 30.25)])
def test_what_is_asked_for_is_read_again(seconds: float, asked: float) -> None:
    headers = retry_after_headers(seconds)
    assert parse_retry_after(httpx.Headers(headers)) == asked and int(headers["Retry-After"]) >= asked


def test_a_burst_is_free_and_then_the_rate_holds() -> None:
    clock = Clock()
    limiter = RateLimiter(60, burst=10, clock=lambda: clock.time, sleep=clock.sleep)
    for _ in range(10):
        limiter.acquire()
    assert clock.slept == 0.0
    for _ in range(600):
        limiter.acquire()
    assert 599.0 <= clock.slept <= 601.0
    clock.time += 3600.0  # an hour's rest saves ten seconds' worth, no more
    before = clock.slept
    for _ in range(11):
        limiter.acquire()
    assert 0.5 <= clock.slept - before <= 1.5


def test_each_client_has_its_own_and_a_refused_request_takes_nothing() -> None:
    clock = Clock()
    limiter = RateLimiter(6, clock=lambda: clock.time)
    left = [limiter.try_acquire("one") for _ in range(8)]
    assert [each.remaining for each in left] == [5, 4, 3, 2, 1, 0, 0, 0]
    assert [each.wait for each in left] == [0.0] * 6 + [10.0, 10.0] and limiter.requests == 6
    assert limiter.try_acquire("two").remaining == 5
    assert left[0].headers() == {
        "x-ratelimit-limit-requests": "6",
        "x-ratelimit-remaining-requests": "5",
        "x-ratelimit-reset-requests": "10.000s",
    }
    clock.time += 10.0
    assert limiter.try_acquire("one").wait == 0.0 and limiter.try_acquire("one").wait == 10.0


def test_a_hundred_thousand_clients_take_the_memory_of_ten_thousand() -> None:
    limiter = RateLimiter(1)
    for client in range(100_000):
        limiter.try_acquire(str(client))
    assert len(limiter._levels) <= 10_000
