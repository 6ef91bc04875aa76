"""Enough examples for the task?"""

from __future__ import annotations

from tuneport.data.checks.finding import Finding, Verdict
from tuneport.data.checks.rows.task import DatasetTaskGuess
from tuneport.formatting import counted

NEEDED = {
    "classification": (50, 500, 5_000),
    "extraction": (100, 1_000, 10_000),
    "style": (200, 1_000, 5_000),
    "domain": (500, 5_000, 50_000),
    "code": (1_000, 10_000, 100_000),
}
"""Minimum, good and excellent number of examples by task. Source: the project's reference card."""

NAMES = {
    "classification": "classification",
    "extraction": "structured extraction",
    "style": "style or tone",
    "domain": "domain expertise",
    "code": "code generation",
}


def check_sample_size(guess: DatasetTaskGuess, task: str | None) -> Finding:
    """Judge the number of rows. `task` is the user's, else the guess."""
    name = task or guess.name
    minimum, good, excellent = NEEDED[name]
    reached = "minimum" if guess.rows < good else "good" if guess.rows < excellent else "excellent"
    source = "given" if task else f"guessed, because {guess.reason}"
    details = {"task": name, "minimum": minimum, "good": good, "excellent": excellent}
    what = f"{counted(guess.rows, 'record')} for {NAMES[name]} ({source})"
    if guess.rows < minimum:
        message = f"{what}: fewer than the minimum of {minimum:,}"
        fix = "collect more examples, or try a few of them in the prompt first"
        return Finding("sample-size", Verdict.FAIL, message, fix=fix, count=guess.rows, details=details)
    following = {
        "minimum": f"the minimum is {minimum:,}, {good:,} is good",
        "good": f"{good:,} is good, {excellent:,} is excellent",
        "excellent": f"{excellent:,} is excellent",
    }
    message = f"{what}: {following[reached]}"
    return Finding("sample-size", Verdict.PASS, message, count=guess.rows, details=details)
