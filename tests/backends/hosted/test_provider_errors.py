"""An error names the true cause and a step that helps: what the status alone would have told wrongly."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.emulated import CLASSES
from tuneport.errors import (
    AuthError,
    ConfigError,
    NotFoundError,
    ProviderError,
    QuotaError,
    RateLimitError,
    RejectedError,
    UnavailableError,
)
from tuneport.manifests import load_manifest
from tuneport.settings import Settings


def error(message: str, code: Any = None, type: Any = "invalid_request_error") -> dict[str, Any]:
    return {"error": {"message": message, "type": type, "param": None, "code": code}}


PAGE = "<html>401</html>"
CASES: dict[str, tuple[int, Any, type[ProviderError], str, str]] = {
    # what: status, body, our error, what it says, what it must not say
    "lock": (409, error("The resource is locked"), UnavailableError, "a conflict .409.*try again", "refuses"),
    "size": (413, PAGE, RejectedError, "no request of this size .413.*smaller", "did not answer in JSON"),
    "call": (501, error("Not implemented"), RejectedError, "does not have this call .501", "try again later"),
    "door": (401, PAGE, AuthError, "without a reason; check .*_API_KEY and TUNEPORT_.*_BASE_URL", "refuses the key"),
    "organization": (
        401,
        error("OpenAI-Organization header should match organization for API key", "mismatched_organization"),
        AuthError,
        "for this organization or project",
        "to a valid key",
    ),
    "country": (
        403,
        error("Country, region, or territory not supported", "unsupported_country_region_territory"),
        RejectedError,
        "does not serve this country, region or address",
        "permission",
    ),
    "bill": (
        400,
        error("Billing hard limit has been reached", "billing_hard_limit_reached"),
        QuotaError,
        "no quota or credit left",
        "refuses the request",
    ),
    "old rate limit": (400, error("slow down", "rate_limit"), RateLimitError, "limits requests now", "refuses"),
    "odd code": (400, error("odd", {"a": [1]}, ["x"]), RejectedError, "refuses the request .400.: odd", "JSON"),
    "odd message": (400, {"error": {"message": ["a", {"b": 1}]}}, RejectedError, "refuses the request", "JSON"),
    "gone": (
        404,
        error("Could not find fine tune: ftjob-1", "fine_tune_not_found"),
        NotFoundError,
        "check the id",
        "_",
    ),
    "route": (404, {"detail": "Not Found"}, RejectedError, "does not know this address.*_BASE_URL", "check the id"),
}


@pytest.mark.parametrize("case", CASES)
def test_cause_and_next_step(emulator: Any, connect: Callable[..., Any], case: str) -> None:
    status, body, kind, said, unsaid = CASES[case]
    backend = connect(emulator)
    if body is PAGE:
        emulator.fail("html", method="GET", status=status, times=None)
    else:
        emulator.fail(method="GET", status=status, body=body, times=None)
    with pytest.raises(kind, match=said) as caught:
        backend.fetch("ft-1")
    assert unsaid == "_" or unsaid not in str(caught.value)
    assert "\n" not in str(caught.value)
    assert caught.value.http_status == status


def test_silence_is_no_missing_server(emulator: Any, connect: Callable[..., Any]) -> None:
    backend = connect(emulator, timeout=0.2)
    emulator.fail("hang", method="GET", times=None, seconds=5.0)
    with pytest.raises(UnavailableError, match="gave no answer within the time limit; try again later") as caught:
        backend.fetch("ft-1")
    assert "cannot be reached" not in str(caught.value)


def test_answer_that_breaks_off_is_no_missing_server(emulator: Any, connect: Callable[..., Any]) -> None:
    emulator.fail("drop", method="GET", times=None)
    with pytest.raises(UnavailableError, match="closed the connection before the answer was complete") as caught:
        connect(emulator).fetch("ft-1")
    assert "cannot be reached" not in str(caught.value)


@pytest.mark.parametrize(
    "address",
    ["127.0.0.1:8000/v1", "localhost", "htp://x/v1", "https://", "http://me:hunter2@[::1", "http://h:port/v1"],
)
@pytest.mark.parametrize("name", ["openai", "together"])
def test_address_that_is_none_is_told_before_it_is_called(name: str, address: str) -> None:
    settings = Settings.load(Path.cwd(), {f"TUNEPORT_{name.upper()}_BASE_URL": address})
    with pytest.raises(
        ConfigError, match=f"is not an address of {name}; write .*TUNEPORT_{name.upper()}_BASE_URL"
    ) as caught:
        CLASSES[name](load_manifest(name), settings)
    assert "hunter2" not in str(caught.value)
