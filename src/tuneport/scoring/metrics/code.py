"""Programs as answers: do they pass the row's tests?"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from tuneport.errors import ConfigError
from tuneport.sandbox.programs import run_sandboxed_program
from tuneport.sandbox.session import SandboxLimits
from tuneport.scoring.examples import Answer, Example
from tuneport.scoring.statistics.tally import Tally, tally_right

_FENCE = re.compile(r"```(?:python|py|python3)?[ \t]*\n(.*?)(?:\n```|\Z)", re.DOTALL | re.IGNORECASE)


def tally_code(
    rows: Sequence[Example], answers: Sequence[Answer], *, allow_code: bool = False, limits: SandboxLimits | None = None
) -> Tally:
    """Run each answer's Python with the row's tests after it (see `tuneport.sandbox`). Needs `allow_code`.

    A blank answer fails.
    """
    if not allow_code:
        raise ConfigError("code_passed runs what the model wrote on this machine, in a sandbox; allow it: allow_code")
    for index, row in enumerate(rows):
        if not row.tests:
            raise ConfigError(f"row {index + 1} has no `tests`, which code_passed runs")
    programs = [
        f"{extract_scored_code(said.text)}\n\n{row.tests}" if said.text.strip() else None
        for row, said in zip(rows, answers, strict=True)
    ]

    def passes(program: str | None) -> bool:
        return program is not None and run_sandboxed_program(program, limits).passed

    with ThreadPoolExecutor(max_workers=os.cpu_count() or 1) as pool:
        return tally_right(list(pool.map(passes, programs)))


def extract_scored_code(text: str) -> str:
    """Return the contents of the fenced Python blocks, or the whole text if there are none."""
    found = _FENCE.findall(text)
    return "\n\n".join(found) if found else text
