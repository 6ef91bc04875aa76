"""Options that are counts: 20000, 20,000, 20k or 1.5M."""

from __future__ import annotations

from tuneport.errors import ConfigError

PER_REQUEST = "--tokens-per-request"


def parse_count_option(text: str | None, option: str) -> int | None:
    """Return the number that an option was given. Raises ConfigError, which names the option."""
    from tuneport.advisor.questions import parse_advisor_count as parse

    try:
        return None if text is None else parse(text)
    except ConfigError as error:
        raise ConfigError(f"{option}: {error}") from None


def parse_tokens_per_request(text: str | None) -> tuple[int, int] | None:
    """Return tokens in and tokens out of IN:OUT."""
    if text is None:
        return None
    tokens_in, colon, tokens_out = text.partition(":")
    if not colon:
        raise ConfigError(f"{PER_REQUEST} {text!r} is not IN:OUT; write for example 400:80")
    return parse_count_option(tokens_in, PER_REQUEST) or 0, parse_count_option(tokens_out, PER_REQUEST) or 0
