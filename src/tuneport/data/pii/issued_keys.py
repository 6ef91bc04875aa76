"""API keys by the rules of Kingfisher (extra `checks`), which know some 440 kinds of them: offline, never tried out."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from typing import TYPE_CHECKING

from tuneport.data.pii.secrets import is_example, looks_secret

if TYPE_CHECKING:
    from kingfisher_sdk import Scanner

# Found elsewhere with their surroundings (private keys, passwords in addresses), or public: names of clients.
_LEFT_OUT = re.compile(
    r"betterleaks\.(?:private-key|generic-.*|mongodb-connection-string|.*(?:client-id|access-id|pub(?:lic)?-key).*)"
)
# Rules want a space or a quote behind a key; in a sentence stand other things. One character for one: places stay.
_BEHIND_A_KEY = re.compile(r"""[^\x00-\x7f]|[.,!?)\]>*|](?=[\s.,!?)\]}>*|"'`]|\Z)""")
# What spans strings or lines is a document with a key in it: replaced as a whole, it would take JSON apart.
_SURROUNDINGS = re.compile(r"[\s\"'`<>{}\\]")
# "Detected a Databricks API token, which may ..." names it between the verb and the first comma, bracket or dash.
_NAMED = re.compile(
    r"(?:(?:Detected|Discovered|Identified|Uncovered|Found|Possible)\b(?: a pattern (?:that (?:may indicate|resembles)|"
    r"resembling))?(?: (?:an?|possible|potential|standalone|the))* )?"
    r"(.+?)(?: \(.*| paired .*| used .*| is an? .*| provided .*| with .*| - .*|[,:] .*|\. .*|\.)?"
)


@cache
def load_scanner() -> Scanner | None:
    """Return the scanner, or None if Kingfisher is not installed.

    Its rules are compiled once a process: in 0.3 s from its cache, a private folder in the user's own cache folder
    (`KF_RULE_CACHE_DIR` names another), in some 3 s without.
    """
    try:
        from kingfisher_sdk import Rules, Scanner
    except ImportError:
        return None
    return Scanner(Rules(), base64=False)


def find_issued_keys(text: str) -> Iterator[tuple[int, int, str]]:
    """Yield start, end and kind, such as "Databricks API token", of each key; nothing without Kingfisher."""
    scanner = load_scanner()
    if scanner is None:
        return
    for finding in scanner.scan(_BEHIND_A_KEY.sub(" ", text)):
        if finding.visible and _is_key(finding.rule_id, finding.secret):
            place = finding.location
            yield place["start_offset"], place["end_offset"], describe_rule(finding.rule_name)


def _is_key(rule: str, value: str) -> bool:
    if _LEFT_OUT.fullmatch(rule) or is_example(value):
        return False
    if "curl" in rule and not looks_secret(value):  # that rule knows where a key stands, not what it looks like
        return False
    return not _SURROUNDINGS.search(value)


@cache
def describe_rule(name: str) -> str:
    """Return what a rule finds, in a few words, from the sentence that it has for a name."""
    named = _NAMED.fullmatch(name)
    return named[1] if named else name
