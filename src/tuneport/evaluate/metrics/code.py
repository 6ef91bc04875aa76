"""Programs as answers: do they pass the row's tests?"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from tuneport.errors import ConfigError
from tuneport.evaluate.examples import Answer, Example
from tuneport.evaluate.sandbox import Limits, run
from tuneport.evaluate.statistics.tally import Tally, tally_right

_FENCE = re.compile(r"```(?:python|py|python3)?[ \t]*\n(.*?)(?:\n```|\Z)", re.DOTALL | re.IGNORECASE)


def tally_code(
    rows: Sequence[Example], answers: Sequence[Answer], *, allow_code: bool = False, limits: Limits | None = None
) -> Tally:
    """Each answer's Python is run with the row's tests after it, see `evaluate.sandbox`. Only with `allow_code`.

    A blank answer passes none.
    """
    if not allow_code:
        raise ConfigError("code_passed runs what the model wrote on this machine, in a sandbox; allow it: allow_code")
    for index, row in enumerate(rows):
        if not row.tests:
            raise ConfigError(f"row {index + 1} has no `tests`, which code_passed runs")
    programs = [
        f"{code_of(said.text)}\n\n{row.tests}" if said.text.strip() else None
        for row, said in zip(rows, answers, strict=True)
    ]

    def passes(program: str | None) -> bool:
        return program is not None and run(program, limits).passed

    with ThreadPoolExecutor(max_workers=os.cpu_count() or 1) as pool:
        return tally_right(list(pool.map(passes, programs)))


def code_of(text: str) -> str:
    """The insides of the fences of Python, or the whole text where there are none."""
    found = _FENCE.findall(text)
    return "\n\n".join(found) if found else text
