"""The table of all cases: a line for each scenario, within 80 columns, and each case with a complaint below it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator

from tests.faults.money.play import Played
from tests.faults.money.verdict import Verdict

COLUMNS = {
    "cases": 6, "doubled": 8, "beyond": 7, "lost": 5, "untrue": 7, "keyless": 8, "other": 6, "asked": 6, "once": 5,
}  # fmt: skip
EXPLAINED = (
    "doubled: a second paid job without a person's word; beyond: the same, after a lag longer than the wait at a "
    "provider known to echo marks; lost: a job that ran and is nowhere told; untrue: a claim that the ledger "
    "contradicts; keyless: a create without Idempotency-Key; other: anything else amiss; asked: a person; once: one "
    "job, and it is the row's"
)


def lines(results: Iterable[tuple[Played, Verdict]]) -> Iterator[str]:
    sums: dict[str, list[int]] = defaultdict(lambda: [0] * len(COLUMNS))
    for played, verdict in results:
        marks = (True, verdict.doubled, verdict.beyond, bool(verdict.lost), bool(verdict.untrue), verdict.keyless,
                 bool(verdict.other), verdict.asked, verdict.once)  # fmt: skip
        for name in (played.case.scenario, "all"):
            sums[name] = [total + mark for total, mark in zip(sums[name], marks, strict=True)]
    yield f"{'scenario':21}" + "".join(f"{name:>{width}}" for name, width in COLUMNS.items())
    for name in [*(name for name in sums if name != "all"), "all"]:
        figures = zip(COLUMNS.values(), sums[name], strict=True)
        yield f"{name:21}" + "".join(f"{number or '.':>{width}}" for width, number in figures)


def complaints(results: Iterable[tuple[Played, Verdict]]) -> Iterator[str]:
    for played, verdict in results:
        if verdict.complaints:
            case = played.case
            yield f"{case.scenario} {case.number} ({case.provider}): {'; '.join(verdict.complaints)}"
