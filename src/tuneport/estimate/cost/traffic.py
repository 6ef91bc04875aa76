"""A month's traffic to a model, and its cost as a function of the traffic. Pure arithmetic."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import ceil, isfinite

from tuneport.errors import ConfigError
from tuneport.types import Model

HOURS_PER_MONTH = 730
"""365 x 24 / 12: providers bill a month as this many hours."""
SECONDS_PER_MONTH = HOURS_PER_MONTH * 3600
MOST_TOKENS_PER_REQUEST = 10_000_000
"""No model's context is longer; more tells of a month's tokens where those of one request were asked for."""
ASSUMED_TOKENS_IN, ASSUMED_TOKENS_OUT = 400, 80
"""A request, if only a month's tokens are known: none is taken to be longer, in or out, which says how many there are
and how many a GPU answers at once."""
USUAL_REQUESTS = 25_000
"""A month's requests by default: with the above 10 million tokens in and 2 million out."""


@dataclass(frozen=True)
class Traffic:
    """A month of it. `input_tokens` is what is sent today, with the examples in the prompt, if there are any.

    `cached_share` of the input comes from a prompt cache; `batch_share` of all tokens can wait for a batch interface.
    `saved_per_request`: tokens of each prompt (examples, instructions) that a tuned model no longer needs.
    ConfigError for what cannot be, which is mostly a mistaken unit.
    """

    input_tokens: int
    output_tokens: int
    cached_share: float = 0.0
    batch_share: float = 0.0
    requests: int | None = None
    saved_per_request: int = 0

    def __post_init__(self) -> None:
        for name in ("input_tokens", "output_tokens", "saved_per_request"):
            if getattr(self, name) < 0:
                raise ConfigError(f"{name} is {getattr(self, name)}; a month's traffic is 0 tokens or more")
        for name, whole in (("cached_share", "the input"), ("batch_share", "the traffic")):
            share = getattr(self, name)
            if not 0 <= share <= 1:
                raise ConfigError(f"{name} is {share:g}; it is a share of {whole}, from 0 to 1 (30 % is 0.3)")
        if self.requests is None:
            if self.saved_per_request:
                raise ConfigError("tokens saved in each prompt need the number of requests a month: give requests too")
            return
        if self.requests < 0:
            raise ConfigError(f"requests is {self.requests}; a month has 0 requests or more")
        total = self.input_tokens + self.output_tokens
        if total > self.requests * MOST_TOKENS_PER_REQUEST:
            raise ConfigError(
                f"{total:,} tokens in {self.requests:,} requests are more than {MOST_TOKENS_PER_REQUEST:,} each, which "
                "no model takes; give the tokens of one request, not of the month"
            )
        if self.saved_per_request * self.requests > self.input_tokens:
            raise ConfigError(
                f"{self.saved_per_request:,} tokens saved in each prompt are more than the prompt has "
                f"({self.tokens_in_per_request:,.0f}); give the tokens that the tuned model's prompt lacks"
            )

    @classmethod
    def of_requests(
        cls,
        requests: int,
        tokens_in: float,
        tokens_out: float,
        *,
        cached_share: float = 0.0,
        batch_share: float = 0.0,
        saved_per_request: int = 0,
    ) -> Traffic:
        """Build the traffic of `requests` a month with these tokens in and out per request (means may be fractions)."""
        for name, value in (("requests", requests), ("tokens in", tokens_in), ("tokens out", tokens_out)):
            if not isfinite(value) or value < 0:
                raise ConfigError(f"{name} is {value:g}; it is 0 or more")
        if tokens_in + tokens_out > MOST_TOKENS_PER_REQUEST:
            raise ConfigError(
                f"{tokens_in + tokens_out:,.0f} tokens in one request are more than any model takes "
                f"({MOST_TOKENS_PER_REQUEST:,}); give the tokens of one request, not of the month"
            )
        return cls(
            round(requests * tokens_in),
            round(requests * tokens_out),
            cached_share,
            batch_share,
            requests,
            saved_per_request,
        )

    @classmethod
    def stated(
        cls,
        *,
        requests: int | None = None,
        per_request: tuple[float, float] | None = None,
        input_tokens: int | None = None,
        output_tokens: int | None = None,
        cached_share: float = 0.0,
        batch_share: float = 0.0,
        saved_per_request: int = 0,
    ) -> Traffic:
        """Build the traffic from what the user states: requests and the tokens of each, or a month's tokens, or
        nothing.

        `per_request`: tokens in and out. Requests that are not stated are `USUAL_REQUESTS`, tokens are
        `ASSUMED_TOKENS_IN` and `ASSUMED_TOKENS_OUT`. Raises ConfigError for a contradiction.
        """
        monthly = input_tokens is not None or output_tokens is not None
        if per_request is not None and monthly:
            raise ConfigError("tokens per request and tokens per month say the same thing twice; give one of them")
        if per_request is not None and requests is None:
            raise ConfigError("tokens per request need the number of requests a month; give requests too")
        shares = {"cached_share": cached_share, "batch_share": batch_share, "saved_per_request": saved_per_request}
        count = USUAL_REQUESTS if requests is None else requests
        if not monthly:
            each = per_request or (ASSUMED_TOKENS_IN, ASSUMED_TOKENS_OUT)
            return cls.of_requests(count, *each, **shares)  # type: ignore[arg-type]
        if input_tokens is None:
            input_tokens = count * ASSUMED_TOKENS_IN
        if output_tokens is None:
            output_tokens = count * ASSUMED_TOKENS_OUT
        return cls(input_tokens, output_tokens, requests=requests, **shares)  # type: ignore[arg-type]

    @property
    def request_count(self) -> float:
        """Return the requests as stated, else the fewest that make up the tokens, with the assumed tokens in each."""
        if self.requests is not None:
            return float(self.requests)
        return max(self.input_tokens / ASSUMED_TOKENS_IN, self.output_tokens / ASSUMED_TOKENS_OUT)

    @property
    def tokens_in_per_request(self) -> float:
        count = self.request_count
        return self.input_tokens / count if count else 0.0

    @property
    def tokens_out_per_request(self) -> float:
        count = self.request_count
        return self.output_tokens / count if count else 0.0

    @property
    def saved_tokens(self) -> int:
        """Return the input tokens a month that a tuned model no longer needs."""
        return self.saved_per_request * (self.requests or 0)

    def tuned(self) -> Traffic:
        """Return the same requests to a tuned model: without the tokens that it no longer needs.

        These tokens stand at the beginning of each prompt and are the same in each request, so a prompt cache would
        have held them: the cached tokens shrink first, and a cache makes the shorter prompt worth less.
        """
        if not self.saved_tokens:
            return self
        left = self.input_tokens - self.saved_tokens
        cached = max(0.0, self.input_tokens * self.cached_share - self.saved_tokens)
        return replace(self, input_tokens=left, cached_share=cached / left if left else 0.0, saved_per_request=0)


class MonthlyCost(Model):
    """US dollars a month, as a function of the traffic: `at(1)` is the stated one, `at(2)` twice that.

    `growing` rises in proportion. `machine` is paid for each machine that is up all month, used or not; `load` is how
    many machines' work the stated traffic is (None: not known, one is assumed whatever the traffic). So the whole is a
    line where machine is 0, and else a staircase, whose steps are at the multiples of `1 / load`.
    """

    growing: float = 0.0
    machine: float = 0.0
    load: float | None = None

    def machines(self, scale: float = 1.0) -> int:
        """Return how many machines are up: at least one, even without work."""
        if self.machine == 0:
            return 0
        return max(1, ceil((self.load or 0.0) * scale - 1e-9))

    def fixed(self, scale: float = 1.0) -> float:
        """Return the part that idle machines cost too."""
        return self.machine * self.machines(scale)

    def at(self, scale: float = 1.0) -> float:
        return self.growing * scale + self.fixed(scale)
