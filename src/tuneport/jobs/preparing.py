"""What is checked of a job before it is submitted: its data as it was, and the provider's own price."""

from __future__ import annotations

from pathlib import Path

from tuneport.data.prepare import prepare
from tuneport.data.reading import columns_there
from tuneport.errors import BudgetError, DatasetError, DatasetProblem
from tuneport.jobs.tables import JobRow
from tuneport.types import DataFile, PreparedData, Quote


def as_submitted(row: JobRow, files: Path) -> PreparedData:
    """The files as they were at submit. One that was cleaned away is made again, if its source is the same."""
    data, spec = row.prepared_data, row.tune_spec
    for file, source in ((data.training, spec.dataset), (data.validation, spec.validation)):
        if file is None or source is None or file.path.is_file():
            continue
        columns = spec.columns if source == spec.dataset else columns_there(source, spec.columns)
        again: DataFile = prepare(source, file.format, files, columns=columns)
        if again.sha256 != file.sha256:
            rule = f"has changed since {row.id} was submitted, and the copy made then is gone"
            raise DatasetError(DatasetProblem(str(source), None, "", rule, "submit it again"))
    return data


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
