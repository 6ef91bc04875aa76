"""The code of a Python grader, which runs in the sandbox, never in this process."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

from tuneport.errors import ConfigError, one_line
from tuneport.sandbox.session import SandboxLimits, SandboxSession

# What OpenAI's guide to graders allows a Python grader.
LIMITS = SandboxLimits(seconds=120, memory_mib=2048, file_mib=256, files=256, processes=64, disk_mib=1024)
_LONGEST_SOURCE = 256_000


class GraderCodeError(Exception):
    """The code cannot be loaded, whatever the answer."""


class AnswerError(Exception):
    """The code failed on this answer."""


class GraderCode:
    """Calls the function `grade` of a source in a confined process, which it keeps until the code fails to answer.

    Raises ConfigError for a source that is no Python. Making one runs nothing; the first call raises UnsupportedError
    or ConfigError if this machine cannot confine code.
    """

    def __init__(self, source: str, name: str, limits: SandboxLimits = LIMITS) -> None:
        if len(source.encode("utf-8", "replace")) > _LONGEST_SOURCE:
            raise ConfigError(f"the grader {name} has more than 256 kB of source, which is OpenAI's limit; shorten it")
        try:
            compile(source, f"<grader {name}>", "exec")
        except (SyntaxError, ValueError) as error:
            raise ConfigError(f"the grader {name} is not valid Python: {one_line(str(error))}") from error
        except (MemoryError, RecursionError, OverflowError) as error:
            raise ConfigError(
                f"the grader {name} is too deeply nested for Python's parser ({type(error).__name__}); shorten its "
                "expressions"
            ) from error
        self._source, self._limits = source, limits
        self._session: SandboxSession | None = None

    def grade(self, sample: Mapping[str, Any], item: Mapping[str, Any]) -> float:
        """Return the code's score. Raises GraderCodeError if it cannot be loaded, AnswerError if it fails."""
        session = self._session or self._open()
        request = json.loads(json.dumps({"sample": sample, "item": item}, default=str))
        answer = session.ask(request, self._limits.seconds)
        if answer is None:
            raise AnswerError(self._ended(session))
        score = answer.get("score")
        if not isinstance(score, int | float):
            raise AnswerError(one_line(str(answer.get("failed", "it gave no number"))[:1000]))
        try:
            number = float(score)
        except OverflowError as error:
            raise AnswerError("it gave a number that is too large; it must give a finite number") from error
        if not math.isfinite(number):
            raise AnswerError(f"it gave {number}; it must give a finite number")
        return number

    def close(self) -> None:
        """End the confined process. The next call starts another."""
        if self._session is not None:
            self._session.close()
            self._session = None

    def _open(self) -> SandboxSession:
        self._session = session = SandboxSession(self._limits)
        answer = session.ask({"grader": self._source}, self._limits.seconds)
        if answer == {"ready": True}:
            return session
        reason = self._ended(session) if answer is None else one_line(str(answer.get("cannot"))[:1000])
        self.close()
        raise GraderCodeError(reason)

    def _ended(self, session: SandboxSession) -> str:
        """Return why there was no answer, and end the process."""
        code = session.wait(0.5)
        self.close()
        if code is None:
            return f"TimeoutError: no answer after {self._limits.seconds} s"
        lines = session.stderr_tail.strip().splitlines()
        return one_line(lines[-1][:300]) if lines else f"it ended with code {code}"
