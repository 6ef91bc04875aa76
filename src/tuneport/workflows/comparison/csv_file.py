"""The comparison as CSV (RFC 4180): one line an option, every number with its unit in the column's name."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tuneport.data.running.writing import publish_output_file, temporary_file
from tuneport.estimate.break_even import CostRange
from tuneport.estimate.training_settings import TrainingSteps
from tuneport.types import Quote
from tuneport.workflows.comparison.break_even import ComparisonBreakEvenRow
from tuneport.workflows.comparison.words import why_no_break_even

if TYPE_CHECKING:
    from tuneport.workflows.comparison.result import ComparisonResult

_BEGIN_FORMULAS = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")
"""Characters, full width ones included, that make a spreadsheet take a cell for a formula."""


def write_comparison_csv(comparison: ComparisonResult, path: Path) -> None:
    """Write the file, whole or not at all. Raises StorageError if it cannot be written."""
    with temporary_file(path.parent) as (file, temporary):
        file.write(render_comparison_csv(comparison).encode("utf-8"))
        publish_output_file(file, temporary, path)


def render_comparison_csv(comparison: ComparisonResult) -> str:
    """Return all lines, the first with the columns' names. Unknown values are empty; `..._unavailable` says why."""
    rows = [_cells(row, comparison) for row in comparison.break_even.rows]
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\r\n")
    writer.writeheader()
    writer.writerows({name: _cell(value) for name, value in cells.items()} for cells in rows)
    return text.getvalue()


def _cells(row: ComparisonBreakEvenRow, comparison: ComparisonResult) -> dict[str, Any]:
    choice, traffic = row.choice, comparison.traffic
    duration, back = choice.duration, row.payback
    unit = comparison.break_even.unit.word.replace(" ", "_")
    return {
        "backend": choice.backend,
        "model": choice.model,
        "possible": choice.allowed,
        "epochs": choice.epochs,
        **_steps(choice.steps),
        "billed_tokens_per_epoch_low": choice.quote.billed_tokens_per_epoch_low,
        "billed_tokens_per_epoch": choice.quote.billed_tokens_per_epoch,
        "billed_tokens_per_epoch_high": choice.quote.billed_tokens_per_epoch_high,
        "serving": None if choice.inference is None else choice.inference.serving or None,
        "rented_card": None if row.offer is None else row.offer.kind,
        **_usd("training_usd", choice.quote),
        **_usd("inference_usd_per_month", choice.inference),
        **_usd("base_model_usd_per_month", choice.base),
        **_span("training_and_12_months_usd", row.total),
        "training_and_12_months_usd_unavailable": row.no_total,
        **_span("saved_usd_per_month", row.saved),
        "saved_compared_with": None if row.instead_of is None else row.instead_of.name,
        "payback_months_low": None if back is None else back.low,
        "payback_months": None if back is None else back.months,
        "payback_months_high": None if back is None else back.high,
        "payback_never_because": None if back is None else back.never or None,
        "payback_unavailable": None if back is not None else why_no_break_even(row),
        f"pays_back_in_time_above_{unit}_per_month": row.pays_from,
        "shorter_prompt_saves_usd_per_month": row.prompt_saving,
        "training_seconds_low": duration.low_seconds,
        "training_seconds": duration.expected_seconds,
        "training_seconds_high": duration.high_seconds,
        "training_seconds_unavailable": None if duration.expected_seconds is not None else duration.unavailable or None,
        "last_day": choice.retires,
        "last_day_source": choice.retires_source,
        "licence": choice.licence,
        "priced_on": row.priced_on,
        "price_is_old": row.stale,
        "reasons": "; ".join(choice.reasons),
        "traffic_requests_per_month": traffic.requests,
        "traffic_input_tokens_per_month": traffic.input_tokens,
        "traffic_output_tokens_per_month": traffic.output_tokens,
        "traffic_cached_share": traffic.cached_share,
        "traffic_batch_share": traffic.batch_share,
        "traffic_tokens_saved_per_request": traffic.saved_per_request,
    }


def _steps(steps: TrainingSteps | None) -> dict[str, Any]:
    return {
        "steps_low": None if steps is None else steps.low,
        "steps": None if steps is None else steps.expected,
        "steps_high": None if steps is None else steps.high,
        "steps_meant": None if steps is None else steps.meant,
        "steps_unavailable": None if steps is None else steps.unavailable,
    }


def _usd(name: str, quote: Quote | None) -> dict[str, Any]:
    return {
        f"{name}_low": None if quote is None else quote.low,
        name: None if quote is None else quote.expected,
        f"{name}_high": None if quote is None else quote.high,
        f"{name}_explanation": None if quote is None else quote.explanation or None,
        f"{name}_unavailable": "not asked" if quote is None else quote.unavailable,
        f"{name}_source": None if quote is None else quote.source,
    }


def _span(name: str, span: CostRange | None) -> dict[str, Any]:
    low, expected, high = (None, None, None) if span is None else (span.low, span.expected, span.high)
    return {f"{name}_low": low, name: expected, f"{name}_high": high}


def _cell(value: Any) -> str:
    """Return numbers to a hundredth of a cent, without an exponent; text that cannot be taken for a formula."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int | float):
        return f"{value:.6f}".rstrip("0").rstrip(".") if isinstance(value, float) else str(value)
    words = str(value)
    return f"'{words}" if words.startswith(_BEGIN_FORMULAS) else words
