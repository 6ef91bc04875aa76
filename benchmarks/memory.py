"""How far the memory estimates are from measured peaks, beside other estimators, on the same rows.

    python benchmarks/memory.py --rows memory_measured.csv [--each] [--without-peers]
    python benchmarks/memory.py --card

A measured peak is compared with the estimate of its own kind: what PyTorch allocated, what it reserved, or what the
process held (also where the source does not say). "Current" rows ran with torch 2.5 or later or are of the
survey's tier A; for those the constants are meant. The allocator's constants were fitted on one half of the rows that
tell both figures (`FITTED_ON`), and are reported on the others. Peers are used where they are installed:
`pip install fitcheck-llm canifinetune ftuneai`.

`--card` puts the reference card's rule of thumb beside the formula: under the assumptions that come closest to it (pure
bf16 with a fused optimizer for full fine-tuning; one example of 2,048 tokens, checkpointing and a fused loss for the
others) and as tuneport trains (fp32 weights in mixed precision for full fine-tuning, 4 x 1,024 tokens).
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

sys.path.insert(0, str(Path(__file__).parent.parent))  # run as a script, it finds its neighbours

from benchmarks.measured_rows import MeasuredRow, UnusableRowError, print_left_out, scored, shape
from benchmarks.memory_peers import installed_peers
from tuneport.estimate.memory import GIB, MemoryEstimate, TrainingShape, estimate_memory
from tuneport.estimate.memory.estimate import high_reserved_gib, memory_rule_of_thumb
from tuneport.types import Adapter

FITTED_ON = ("canifinetune",)
"""Sources whose rows set the allocator's constants."""


@dataclass(frozen=True)
class Score:
    """`expected` and `high` GiB beside the measured peak."""

    row: MeasuredRow
    expected: float
    high: float

    @property
    def error(self) -> float:
        assert self.row.peak_gib is not None
        return self.expected / self.row.peak_gib - 1

    @property
    def under_predicted(self) -> bool:
        assert self.row.peak_gib is not None
        return self.high < self.row.peak_gib


def of_kind(estimate: MemoryEstimate, kind: str) -> tuple[float, float]:
    """Expected and high, of what was measured."""
    match kind:
        case "allocated":
            return estimate.low_gib, high_reserved_gib(estimate.low_gib)
        case "reserved":
            return estimate.reserved_gib, high_reserved_gib(estimate.low_gib)
    return estimate.expected_gib, estimate.high_gib


def score(row: MeasuredRow) -> Score:
    """UnusableRowError where nothing was measured."""
    if row.peak_gib is None:
        raise UnusableRowError("no peak was measured")
    estimate = estimate_memory(row.adapter, params_b=row.params_b, dimensions=row.dimensions, run=row.run)
    assert estimate is not None
    return Score(row, *of_kind(estimate, row.kind))


def summary(title: str, scores: Sequence[Score]) -> str:
    if not scores:
        return f"{title:<44} no rows"
    errors = [found.error for found in scores]
    mean = sum(map(abs, errors)) / len(errors)
    under = sum(found.under_predicted for found in scores)
    return (
        f"{title:<44} {len(scores):>4} {mean:>7.1%} {median(errors):>+7.1%} {min(errors):>+7.1%} {max(errors):>+7.1%}"
        f" {under:>4} ({under / len(scores):.0%})"
    )


HEADER = f"{'':<44} rows    mean  median   least    most  p90 too low"


def groups() -> list[tuple[str, Callable[[MeasuredRow], bool]]]:
    fitted = lambda row: any(name in row.source for name in FITTED_ON)  # noqa: E731
    return [
        ("current libraries, one GPU", lambda row: row.current and row.single_gpu),
        ("  fitted on", lambda row: row.current and row.single_gpu and fitted(row)),
        ("  not fitted on", lambda row: row.current and row.single_gpu and not fitted(row)),
        ("older libraries, one GPU", lambda row: not row.current and row.single_gpu and row.tier != "C"),
        ("older libraries, several GPUs", lambda row: not row.current and not row.single_gpu and row.tier != "C"),
        ("tier C: partial or read off charts", lambda row: row.tier == "C"),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=Path, help="a CSV with the columns of memory_measured.csv")
    parser.add_argument("--card", action="store_true", help="the reference card's table beside the formula's")
    parser.add_argument("--each", action="store_true", help="print every row, too")
    parser.add_argument("--without-peers", action="store_true")
    arguments = parser.parse_args()
    if arguments.card:
        print_card()
    if arguments.rows is None:
        return
    scores, left_out = scored(arguments.rows, score)
    if arguments.each:
        for found in scores:
            row = found.row
            print(
                f"{row.id:<12} {row.adapter:<7} {row.run.micro_batch:>3} x {row.run.length:<6} {row.kind:<9} "
                f"measured {row.peak_gib:>6.2f}  expected {found.expected:>6.2f} {found.error:>+7.1%}"
                f"  high {found.high:>6.2f}{'  TOO LOW' if found.under_predicted else ''}"
            )
    print(HEADER)
    for title, belongs in groups():
        print(summary(title, [found for found in scores if belongs(found.row)]))
    print_left_out(left_out)
    if not arguments.without_peers:
        print_peers([found for found in scores if found.row.current and found.row.single_gpu])


CARD = {"1B": "llama-3.2-1b", "7B": "llama-2-7b", "13B": "llama-2-13b", "70B": "llama-2-70b"}
AS_THE_CARD = TrainingShape(micro_batch=1, length=2048, full_weights="bf16", optimizer="adamw_fused")
AS_TUNEPORT = TrainingShape(micro_batch=4, length=1024)


def print_card() -> None:
    print(
        f"{'GB (of 1e9 bytes)':<18} {'card':>6} {'its assumptions':>16} {'card is off':>12} "
        f"{'as tuneport':>12} {'off':>6}"
    )
    for size, name in CARD.items():
        for adapter in (Adapter.FULL, Adapter.LORA, Adapter.QLORA):
            card = memory_rule_of_thumb(adapter, float(size.removesuffix("B"))).expected_gib * GIB / 1e9
            found = [
                estimate_memory(adapter, params_b=None, dimensions=shape(name), run=run)
                for run in (AS_THE_CARD, AS_TUNEPORT)
            ]
            likened, own = (estimate.expected_gib * GIB / 1e9 for estimate in found if estimate is not None)
            print(
                f"{size + ' ' + adapter:<18} {card:>6.0f} {likened:>16.1f} {card / likened - 1:>+12.0%} {own:>12.1f} "
                f"{card / own - 1:>+6.0%}"
            )


def print_peers(scores: Sequence[Score]) -> None:
    """Every estimator on the rows that it can take, and tuneport on exactly those."""
    print("\nbeside other estimators, current rows (mean absolute error on the rows that each can take)")
    for peer in installed_peers():
        theirs, ours = [], []
        for found in scores:
            gib = peer.estimate(found.row)
            if gib is not None and found.row.peak_gib:
                theirs.append(abs(gib / found.row.peak_gib - 1))
                ours.append(abs(found.error))
        if theirs:
            print(
                f"  {peer.name:<22} {len(theirs):>3} of {len(scores)} rows: {sum(theirs) / len(theirs):>6.1%}"
                f"   tuneport on them: {sum(ours) / len(ours):>6.1%}"
            )
        else:
            print(f"  {peer.name:<22} takes none of them")


if __name__ == "__main__":
    main()
