"""How far the estimated durations are from measured throughputs.

    python benchmarks/duration.py --rows memory_measured.csv [--each]

Each row's measured tokens per second are compared with those of the formula (`estimate/duration.py`) at its
micro-batch, length and card. The constants were fitted on the rows of Qwen's table and canifinetune, and are reported
on the others. PEFT's rows are counted at their mean length, 210 tokens, which is what their throughput counts.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import exp, log
from pathlib import Path
from statistics import median

sys.path.insert(0, str(Path(__file__).parent.parent))  # run as a script, it finds its neighbours

from benchmarks.measured_rows import MeasuredRow, UnusableRowError, print_left_out, scored
from tuneport.errors import ConfigError
from tuneport.estimate.duration import GPU_SPREAD, LOADING_SECONDS, gpu_duration
from tuneport.manifests import CatalogueGPU, load_gpus

FITTED_ON = ("Qwen README", "canifinetune")
CARDS = {
    "RTX 4080": CatalogueGPU(
        name="RTX 4080", vram_gib=16, bf16_tflops=97.5, bf16_tflops_source="rates", bandwidth_gbps=717
    )
}
MANY_TOKENS = 10**9


@dataclass(frozen=True)
class Score:
    """Tokens per second on all of a row's GPUs together."""

    row: MeasuredRow
    expected: float

    @property
    def log_error(self) -> float:
        assert self.row.tokens_per_second is not None
        return log(self.expected / self.row.tokens_per_second)


def score(row: MeasuredRow) -> Score:
    """UnusableRowError where nothing was measured or the card is not known."""
    if row.tokens_per_second is None:
        raise UnusableRowError("no throughput was measured")
    card = _card(row.gpu)
    assert card.bf16_tflops is not None
    mean = re.search(r"mean (\d+) tok/sample", row.notes)
    estimate = gpu_duration(
        MANY_TOKENS,
        params_b=row.params_b,
        adapter=row.adapter,
        bf16_tflops=card.bf16_tflops,
        micro_batch=row.run.micro_batch,
        length=int(mean[1]) if mean else row.run.length,
        accumulation=int(found[1]) if (found := re.search(r"(?:grad-accum|GA) (\d+)", row.notes)) else 1,
        checkpointing=row.run.checkpointing,
        dimensions=row.dimensions,
        gpu=card.name,
        bandwidth_gbps=card.bandwidth_gbps,
        gpus=row.run.gpus,
    )
    assert estimate.expected_seconds is not None
    return Score(row, MANY_TOKENS / (estimate.expected_seconds - LOADING_SECONDS))


def _card(name: str) -> CatalogueGPU:
    for known, card in CARDS.items():
        if known in name:
            return card
    try:
        return load_gpus().find(name)
    except ConfigError:
        raise UnusableRowError(f"the card {name} is not known") from None


def summary(title: str, scores: Sequence[Score]) -> str:
    if not scores:
        return f"{title:<40} no rows"
    errors = [found.log_error for found in scores]
    inside = sum(abs(error) <= log(GPU_SPREAD) for error in errors) / len(errors)
    mean = exp(sum(map(abs, errors)) / len(errors)) - 1
    return f"{title:<40} {len(scores):>4} {mean:>9.0%} {exp(median(errors)) - 1:>+8.0%} {inside:>14.0%}"


HEADER = f"{'':<40} rows  mean off   median  within x {GPU_SPREAD:g}"


def groups() -> list[tuple[str, Callable[[MeasuredRow], bool]]]:
    fitted = lambda row: any(name in row.source for name in FITTED_ON)  # noqa: E731
    return [
        ("all", lambda row: True),
        ("  fitted on", fitted),
        ("  not fitted on", lambda row: not fitted(row)),
        ("one GPU", lambda row: row.single_gpu),
        ("several GPUs", lambda row: not row.single_gpu),
        ("current libraries", lambda row: row.current),
        *[
            (f"  {adapter}", lambda row, adapter=adapter: row.adapter == adapter)
            for adapter in ("full", "lora", "qlora")
        ],
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=Path, required=True, help="a CSV with the columns of memory_measured.csv")
    parser.add_argument("--each", action="store_true", help="print every row, too")
    arguments = parser.parse_args()
    scores, left_out = scored(arguments.rows, score)
    if arguments.each:
        for found in scores:
            row = found.row
            print(
                f"{row.id:<10} {row.adapter:<6} {row.params_b:>5.1f} B {row.run.micro_batch:>3} x {row.run.length:<6} "
                f"{row.run.gpus} x {row.gpu:<14} measured {row.tokens_per_second:>9,.0f}  "
                f"expected {found.expected:>9,.0f} {exp(found.log_error) - 1:>+5.0%}"
            )
    print(HEADER)
    for title, belongs in groups():
        print(summary(title, [found for found in scores if belongs(found.row)]))
    print_left_out(left_out)


if __name__ == "__main__":
    main()
