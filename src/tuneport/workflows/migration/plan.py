"""The plan of one move, the user's settings for it, and the total cost of all plans."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from tuneport.errors import BudgetError, ConfigError, ConversionLoss
from tuneport.formatting import money
from tuneport.lifecycle.schema.records import JobRecord
from tuneport.router import BackendChoice
from tuneport.types import DataFile, TuneSpec
from tuneport.workflows.migration.model_mapping import ModelChoice
from tuneport.workflows.migration.origin import MigrationSourceJob
from tuneport.workflows.migration.setting import MigratedSetting

PlanState = Literal["ready", "started", "stopped"]


@dataclass(frozen=True)
class MigrationChoices:
    """The user's settings. `models` as in `migration_model_option`; `data`: a job's id to the user's own copy of its
    file.

    `again`: move a job once more whose first move failed, was cancelled, or is in another store.
    """

    models: Sequence[str] = ()
    data: Mapping[str, Path] = field(default_factory=dict)
    allow_loss: bool = False
    allow_personal_data: bool = False
    again: bool = False


@dataclass
class MigrationMovePlan:
    """`state` started: an earlier run has begun the move, `row` is its job. `problems` empty means ready."""

    job: MigrationSourceJob
    backend: str
    model: ModelChoice
    third_party: bool = False
    lines: list[MigratedSetting] = field(default_factory=list)
    spec: TuneSpec | None = None
    choice: BackendChoice | None = None
    source_format: str | None = None
    training: DataFile | None = None
    validation_rows: int | None = None
    losses: list[ConversionLoss] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    row: JobRecord | None = None

    @property
    def state(self) -> PlanState:
        return "started" if self.row is not None else "stopped" if self.problems else "ready"

    def as_dict(self) -> dict[str, Any]:
        return {
            "job": self.job.id,
            "backend": self.backend,
            "state": self.state,
            "started_as": None if self.row is None else self.row.id,
            "old_model": self.job.model,
            "old_tuned_model": self.job.tuned_model,
            "model": None if self.choice is None else self.choice.model,
            "model_name": self.model.name,
            "model_reason": self.model.reason,
            "suggestions": [suggestion.as_dict() for suggestion in self.model.suggestions],
            "settings": [line.as_dict() for line in self.lines],
            "spec": None if self.spec is None else self.spec.model_dump(mode="json"),
            "dataset": None
            if self.training is None
            else {
                "rows": self.training.rows,
                "format": self.source_format,
                "written_as": self.training.format,
                "left_out": list(self.training.left_out),
            },
            "losses": [vars(loss) for loss in self.losses],
            "training": None if self.choice is None else self.choice.quote.model_dump(mode="json"),
            "duration": None if self.choice is None else vars(self.choice.duration),
            "notes": self.notes,
            "warnings": [] if self.choice is None else list(self.choice.warnings),
            "problems": self.problems,
        }


def total_migration_quote(plans: Sequence[MigrationMovePlan]) -> tuple[float, float, int]:
    """Return US dollars expected and at most for what is ready, and the number of jobs without a known price."""
    expected = high = 0.0
    unknown = 0
    for plan in plans:
        if plan.state != "ready" or plan.choice is None:
            continue
        quote = plan.choice.quote
        if quote.expected is None:
            unknown += 1
        else:
            expected += quote.expected
            high += quote.high if quote.high is not None else quote.expected
    return expected, high, unknown


def limit_migration_budget(plans: Sequence[MigrationMovePlan], budget: float) -> None:
    """Limit all that is ready to `budget` US dollars together. Raises BudgetError if it may cost more, or the cost is
    unknown.

    A spec's own budget holds if it is smaller. The rest of the budget is shared out, so that a provider's own estimate,
    asked for after the upload, may be higher by that much and no more.
    """
    ready = [plan for plan in plans if plan.state == "ready" and plan.spec is not None]
    expected, high, unknown = total_migration_quote(ready)
    if unknown:
        raise BudgetError(f"the price of {unknown} of {len(ready)} jobs is unknown and a budget is given; leave it out")
    if high > budget:
        raise BudgetError(
            f"{len(ready)} jobs would cost up to {money(high)}, above the budget of {money(budget)}; raise --budget or "
            "move fewer jobs (--job)"
        )
    for plan in ready:
        assert plan.spec is not None and plan.choice is not None
        quote = plan.choice.quote
        most = (quote.high if quote.high is not None else quote.expected or 0.0) + (budget - high) / len(ready)
        if most > 0:
            own = plan.spec.budget
            plan.spec = plan.spec.model_copy(update={"budget": most if own is None else min(own, most)})


def parse_migration_data_options(given: Sequence[str], option: str) -> dict[str, Path]:
    """Return `ID=FILE` options as a mapping. Raises ConfigError for a malformed one, or if its file does not exist."""
    found = {}
    for text in given:
        name, separator, file = text.partition("=")
        path = Path(file).expanduser()
        if not separator or not name or not path.is_file():
            raise ConfigError(
                f"{option} {text!r} is not ID=FILE with a file that exists; write {option} ftjob-1=a.jsonl"
            )
        found[name] = path
    return found
