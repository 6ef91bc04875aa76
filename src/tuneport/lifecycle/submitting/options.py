"""Options of a job that say how it is run, not what is trained (`TuneSpec`): the one list that every surface is made
from.

The command line's flags, the keywords of `tuneport.submit`, the fields of `POST /tuneport/v1/jobs`, the dashboard's
form, the store's columns and the documents all come from these fields.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, TypedDict, TypeVar

from pydantic import Field

from tuneport.client_rules import YES_NO, OperatorOnly
from tuneport.errors import ConfigError
from tuneport.types import Model, TuneSpec
from tuneport.validation import parse_or_config_error

Mark = TypeVar("Mark")


@dataclass(frozen=True)
class OptionNeeds:
    """The field of the spec without which the option means nothing; `otherwise` is the error's text."""

    field: str
    otherwise: str


@dataclass(frozen=True)
class OffFlag:
    """The command line's flag for False, of an option that is None by default."""

    flag: str | None
    help: str


@dataclass(frozen=True)
class OptionLine:
    """The line of `tuneport show` for an option that is set."""

    label: str
    text: str


_NO_BUDGET = "there is no budget that the job could be cancelled for; give one (--budget USD)"
_NO_VALIDATION = (
    "whether a job overfits shows on rows that it does not train on; give a validation file (--validation), or leave "
    "--stop-on-overfit out"
)


class ClientOptions(Model):
    """The options that a client of the gateway may set, too. Each is a column of the jobs table."""

    delete_files: Annotated[
        bool | None, YES_NO, OffFlag("--keep-files", "Keep what was uploaded, whatever tuneport.toml says.")
    ] = Field(
        default=None,
        description="When the job has ended, delete at the provider what was uploaded. Default: as tuneport.toml says.",
    )
    cancel_over_budget: Annotated[bool, YES_NO, OptionNeeds("budget", _NO_BUDGET)] = Field(
        default=False, description="Cancel the job once its projected cost exceeds the budget."
    )
    stop_on_overfit: Annotated[
        bool,
        YES_NO,
        OptionNeeds("validation", _NO_VALIDATION),
        OptionLine("on overfitting", "stop, and keep the best checkpoint"),
    ] = Field(default=False, description="Stop the job once it surely overfits, and keep its best checkpoint.")


@dataclass(frozen=True)
class StoredOptions:
    """The same of a job in the store: none of them is open any more."""

    delete_files: bool
    cancel_over_budget: bool
    stop_on_overfit: bool


class JobOptions(ClientOptions):
    """All options of a job. They do not change what is trained."""

    allow_personal_data: Annotated[
        bool, OperatorOnly("uploads personal data to a third party, for which the operator answers", never=True)
    ] = Field(default=False, description="Upload personal data to a third party.")
    anyway: Annotated[bool, OperatorOnly("trains on data that fails the checks", never=True)] = Field(
        default=False, description="Train although a check of the data fails."
    )
    again: Annotated[bool, OperatorOnly("pays for the same job twice", never=True)] = Field(
        default=False, description="Train although an earlier job had the same data and settings."
    )

    @classmethod
    def of_row(cls, row: Any) -> JobOptions:
        """Return the options of a stored job. Consent is not stored: each submit asks for it again."""
        return cls.model_validate({name: getattr(row, name) for name in ClientOptions.model_fields})

    def columns(self) -> dict[str, bool]:
        """Return the values of the job's columns. An option that was left open is off."""
        return {name: bool(getattr(self, name)) for name in ClientOptions.model_fields}

    @classmethod
    def of_request(cls, body: Mapping[str, Any], *, allow_personal_data: bool = False) -> JobOptions:
        """Return the options of a stored request. `allow_personal_data` is the operator's and never in the body."""
        given = body.get("tuneport") or {}
        own = {name: given[name] for name in ClientOptions.model_fields if name in given}
        return cls.model_validate(own | {"allow_personal_data": allow_personal_data})

    def updated(self, given: Mapping[str, Any]) -> JobOptions:
        """Return these options with those that are given by keyword. Raises ConfigError for an invalid value."""
        return parse_or_config_error(JobOptions, self.model_dump() | dict(given)) if given else self

    def check(self, spec: TuneSpec) -> None:
        """Raise ConfigError if an option needs what the spec does not have."""
        for name, needed in list_job_option_needs().items():
            if getattr(self, name) and getattr(spec, needed.field) is None:
                raise ConfigError(needed.otherwise)
        if self.stop_on_overfit and spec.method.writes_answers:
            raise ConfigError(f"{spec.method} is judged by rewards, not by a loss; leave --stop-on-overfit out")

    def shown(self) -> dict[str, str]:
        """Return the lines of `tuneport show` for the options that are set, by label."""
        marks = {name: _mark(name, OptionLine) for name in JobOptions.model_fields}
        return {mark.label: mark.text for name, mark in marks.items() if mark is not None and getattr(self, name)}


class OptionKeywords(TypedDict, total=False):
    """The options as keywords of `submit`: the fields of `JobOptions`."""

    delete_files: bool | None
    cancel_over_budget: bool
    stop_on_overfit: bool
    allow_personal_data: bool
    anyway: bool
    again: bool


def list_job_option_needs() -> dict[str, OptionNeeds]:
    """Return the needs of the options that need something."""
    found = {name: _mark(name, OptionNeeds) for name in JobOptions.model_fields}
    return {name: mark for name, mark in found.items() if mark is not None}


def job_option_off_flag(name: str) -> OffFlag | None:
    return _mark(name, OffFlag)


def _mark(name: str, kind: type[Mark]) -> Mark | None:
    metadata = JobOptions.model_fields[name].metadata
    return next((mark for mark in metadata if isinstance(mark, kind)), None)
