"""Checks of a job before it is submitted: its data is as it was, and the provider's own price fits."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tuneport import digests
from tuneport.data.conversion.prepare import convert_dataset_for_method
from tuneport.data.dataset import Dataset
from tuneport.errors import BudgetError, DatasetError, DatasetProblem
from tuneport.formatting import money
from tuneport.lifecycle.contents.contents import content_hash_in_path
from tuneport.lifecycle.schema.records import JobRecord
from tuneport.lifecycle.submitting.hold_out import read_job_pictures
from tuneport.types import DataFile, PreparedData, Quote


def restore_submitted_job_files(row: JobRecord, files: Path, fetch: Callable[[str], Path]) -> PreparedData:
    """Return the files as they were at submit, in the folder `files`. A file that is missing, damaged, or prepared on
    another machine is made again if its source is the same; `fetch` gets a content that a gateway's client uploaded."""
    data, spec = row.prepared_data, row.tune_spec
    training = _as_submitted(row, data.training, spec.dataset, files, fetch)
    if data.validation is None or spec.validation is None:
        return data.model_copy(update={"training": training})
    held_out = _as_submitted(row, data.validation, spec.validation, files, fetch)
    return PreparedData(training=training, validation=held_out)


def _as_submitted(row: JobRecord, file: DataFile, source: Path, files: Path, fetch: Callable[[str], Path]) -> DataFile:
    here = files / f"{file.sha256}.jsonl"
    for path in (file.path, here):
        if path.is_file() and digests.sha256_of(path) == file.sha256:
            return file.model_copy(update={"path": path})
    spec = row.tune_spec
    first = source == spec.dataset
    if not source.is_file() and (sha256 := content_hash_in_path(source)) is not None:
        source = fetch(sha256)
    dataset = Dataset.of_spec(spec, source) if first else Dataset.of_spec(spec).validation_like(source)
    pictures = read_job_pictures(dataset)
    again = convert_dataset_for_method(spec.method, dataset, file.format, files, pictures=pictures)
    if again.sha256 != file.sha256:
        rule = f"has changed since {row.id} was submitted, and the copy made then is gone or damaged"
        raise DatasetError(DatasetProblem(str(source), None, "", rule, "submit it again"))
    return file.model_copy(update={"path": again.path})


def compare_job_with_our_quote(theirs: Quote, ours: Quote | None) -> Quote:
    """Return the provider's own quote, with the published table's sum and the difference between the two."""
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
        told = f"the published table came to {money(table)}, so it is {theirs.expected / table - 1:+.0%}"
    return theirs.model_copy(
        update={
            "by_table": table,
            "explanation": f"{theirs.explanation}; {told}",
            "billed_tokens_per_epoch": ours.billed_tokens_per_epoch,
            "billed_tokens_per_epoch_low": ours.billed_tokens_per_epoch_low,
            "billed_tokens_per_epoch_high": ours.billed_tokens_per_epoch_high,
        }
    )


def refuse_job_quote_above_budget(budget: float, quote: Quote) -> None:
    """Raise an error if the provider's own quote, asked for now that its copy of the file is validated, is above the
    budget."""
    if quote.expected is None:
        raise BudgetError(
            f"{quote.backend} gives no price for this job ({quote.unavailable}) and there is a budget of "
            f"{money(budget)}; nothing was started; submit without --budget to start it"
        )
    if (quote.high or quote.expected) > budget:
        raise BudgetError(
            f"{quote.backend} asks {money(quote.high or quote.expected)} for this job, more than the budget of "
            f"{money(budget)}; nothing was started; raise --budget or train on fewer tokens"
        )
