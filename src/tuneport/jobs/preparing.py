"""What is checked of a job before it is submitted: its data as it was, and the provider's own price."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tuneport.data.prepare import prepare_for
from tuneport.data.reading import columns_there
from tuneport.errors import BudgetError, DatasetError, DatasetProblem
from tuneport.jobs.contents import sha256_of
from tuneport.jobs.tables import JobRow
from tuneport.types import DataFile, PreparedData, Quote


def as_submitted(row: JobRow, files: Path, fetch: Callable[[str], Path]) -> PreparedData:
    """The files as they were at submit, in the folder `files`. One that is not there, cleaned away or prepared on
    another machine, is made again, if its source is the same; `fetch` has a content that a gateway's client uploaded.
    """
    data, spec = row.prepared_data, row.tune_spec
    training = _as_submitted(row, data.training, spec.dataset, files, fetch)
    if data.validation is None or spec.validation is None:
        return data.model_copy(update={"training": training})
    held_out = _as_submitted(row, data.validation, spec.validation, files, fetch)
    return PreparedData(training=training, validation=held_out)


def _as_submitted(row: JobRow, file: DataFile, source: Path, files: Path, fetch: Callable[[str], Path]) -> DataFile:
    here = files / f"{file.sha256}.jsonl"
    for path in (file.path, here):
        if path.is_file():
            return file.model_copy(update={"path": path})
    spec = row.tune_spec
    first = source == spec.dataset
    if not source.is_file() and (sha256 := sha256_of(source)) is not None:
        source = fetch(sha256)
    columns = spec.columns if first else columns_there(source, spec.columns)
    again = prepare_for(spec.method, source, file.format, files, columns)
    if again.sha256 != file.sha256:
        rule = f"has changed since {row.id} was submitted, and the copy made then is gone"
        raise DatasetError(DatasetProblem(str(source), None, "", rule, "submit it again"))
    return file.model_copy(update={"path": again.path})


def beside_ours(theirs: Quote, ours: Quote | None) -> Quote:
    """The provider's own quote, with what the published table came to and by how much they differ."""
    if ours is None or theirs.authority != "provider" or theirs.expected is None:
        return theirs
    table = ours.expected if ours.authority == "manifest" else ours.by_table
    if table is None:
        return theirs
    if abs(theirs.expected - table) < 0.005:
        told = "as the published table has it"
    elif table == 0:
        told = "the published table came to $0"
    else:
        told = f"the published table came to ${table:,.2f}, so it is {theirs.expected / table - 1:+.0%}"
    return theirs.model_copy(
        update={
            "by_table": table,
            "explanation": f"{theirs.explanation}; {told}",
            "billed_tokens_per_epoch": ours.billed_tokens_per_epoch,
            "billed_tokens_per_epoch_low": ours.billed_tokens_per_epoch_low,
            "billed_tokens_per_epoch_high": ours.billed_tokens_per_epoch_high,
        }
    )


def refuse_above_budget(budget: float, quote: Quote) -> None:
    """The provider's own quote, asked for now that its copy of the file is validated, has the last word."""
    if quote.expected is None:
        raise BudgetError(
            f"{quote.backend} gives no price for this job ({quote.unavailable}) and there is a budget of "
            f"${budget:.2f}; nothing was started; submit without --budget to go on"
        )
    if (quote.high or quote.expected) > budget:
        raise BudgetError(
            f"{quote.backend} asks ${quote.high or quote.expected:.2f} for this job, more than the budget of "
            f"${budget:.2f}; nothing was started; raise --budget or train on fewer tokens"
        )
