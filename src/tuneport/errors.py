"""Every error that tuneport raises on purpose.

TuneportError
 ├─ ConfigError              settings, aliases, command-line values
 │   └─ NoBackendChosenError several backends have the model, or none that is set up here
 ├─ DatasetError             a record or a file that cannot be used; knows path, line, field, rule, fix
 ├─ ConversionLossError      a conversion would lose something and was not allowed to
 ├─ UnsupportedError         this backend (or method, adapter, model) cannot do that
 │   └─ NotDeployedError     the model answers only from an endpoint, which is not up; knows whether it is starting
 ├─ BudgetError              the quote is above the budget, or unknown
 ├─ ConsentError             a job was not agreed to: what it costs, or where its data goes
 ├─ CheckFailedError         a check of the dataset fails; nothing was paid
 ├─ ModelNotOfferedError     this backend does not offer that model
 ├─ ProviderError            what a provider answered; knows provider, http_status, code, request_id, retryable
 │   ├─ AuthError            no key, a wrong key, or a key without the permission
 │   ├─ NotFoundError        no such job, file or model over there
 │   ├─ RateLimitError       too many requests; retryable unless the limit is a daily one
 │   ├─ QuotaError           no money or no quota left; never retried
 │   ├─ RejectedError        understood and refused: a bad parameter, a closed service
 │   ├─ UnavailableError     down, overloaded, hanging, or not speaking JSON; retryable
 │   └─ UnresolvedStartError whether a job was started is not known, and only a person can say
 ├─ StorageError             this machine's disk: full, read-only or missing
 └─ TrainingError            local training or inference ended badly

Each message is one line that says what happened, to what, and what to do next. `exit_code` is what the command
line returns: 2 for the caller's mistakes, 3 for the provider's (or the trainer's).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass


class TuneportError(Exception):
    """The base of all; `as_dict` is what `--json` prints."""

    exit_code = 2

    def as_dict(self) -> dict[str, object]:
        return {"type": type(self).__name__, "message": str(self)}


class ConfigError(TuneportError):
    pass


def one_line(text: str) -> str:
    """Return the text with what cannot be printed escaped: names of columns may hold line ends and lone surrogates."""
    if text.isprintable():
        return text
    return "".join(mark if mark.isprintable() else mark.encode("unicode_escape").decode() for mark in text)


@dataclass(frozen=True)
class DatasetProblem:
    """One thing that is wrong with a dataset. `line` counts from 1: lines, or records where `unit` says so."""

    path: str
    line: int | None
    field: str
    rule: str
    fix: str
    unit: str = "line"

    def __str__(self) -> str:
        where = self.path
        if self.line is not None:
            where += f":{self.line}" if self.unit == "line" else f", {self.unit} {self.line}"
        field = f" {self.field}:" if self.field else ""
        return one_line(f"{where}:{field} {self.rule}; {self.fix}" if self.fix else f"{where}:{field} {self.rule}")


class DatasetError(TuneportError):
    """A dataset that cannot be used. `problems` holds all that was found, up to a cap; `count` is how many there are.

    `path`, `line`, `field`, `rule` and `fix` are those of the first problem.
    """

    def __init__(self, problems: DatasetProblem | Sequence[DatasetProblem], *, count: int | None = None) -> None:
        self.problems = [problems] if isinstance(problems, DatasetProblem) else list(problems)
        if not self.problems:
            raise ValueError("a DatasetError needs at least one problem")
        self.count = len(self.problems) if count is None else count
        first = self.problems[0]
        self.path, self.line, self.field, self.rule, self.fix = (
            first.path,
            first.line,
            first.field,
            first.rule,
            first.fix,
        )
        more = f" (and {self.count - 1:,} more: `tuneport check` lists them)" if self.count > 1 else ""
        super().__init__(f"{first}{more}")

    def listed(self) -> DatasetError:
        """Return the same error without its pointer to the list, for a caller that has listed all of `problems` but the
        first."""
        same = DatasetError(self.problems, count=self.count)
        more, untold = self.count - 1, self.count - len(self.problems)
        which = f", of which the first {more - untold:,} are listed above" if untold else " above"
        same.args = (f"{self.problems[0]} (and {more:,} more{which})" if more else str(self.problems[0]),)
        return same

    def as_dict(self) -> dict[str, object]:
        rows = [vars(problem) for problem in self.problems]
        return super().as_dict() | {"count": self.count, "problems": rows}


LOSSES_TOLD = 3  # in one line


@dataclass(frozen=True)
class ConversionLoss:
    """Something the target format cannot hold: the field, the number of records, and their first lines."""

    field: str
    count: int
    lines: tuple[int, ...]
    reason: str
    places: str = ""
    """`lines` in words, if they are not simply the lines of one file."""

    def __str__(self) -> str:
        places = (
            self.places or f"line{'s' if len(self.lines) > 1 else ''} {', '.join(str(line) for line in self.lines)}"
        )
        if self.count <= len(self.lines):
            return one_line(f"{self.field}: {self.reason} ({places})")
        return one_line(f"{self.field}: {self.reason} ({self.count:,} records; first: {places})")


class ConversionLossError(TuneportError):
    """`remedy`: what to do about it where the conversion was asked for."""

    def __init__(
        self, target: str, losses: Sequence[ConversionLoss], *, remedy: str = "pass --allow-loss to go on without it"
    ) -> None:
        self.target = target
        self.losses = list(losses)
        listed = "; ".join(str(loss) for loss in self.losses[:LOSSES_TOLD])
        if len(self.losses) > LOSSES_TOLD:
            listed += f"; and {len(self.losses) - LOSSES_TOLD} more, which --json lists"
        super().__init__(f"converting to {target} would lose data: {listed}; {remedy}")

    def as_dict(self) -> dict[str, object]:
        rows = [vars(loss) for loss in self.losses]
        return super().as_dict() | {"target": self.target, "losses": rows}


class UnsupportedError(TuneportError):
    """The named backend, method, adapter or model does not have the named capability.

    `param`: the request option that caused it, if any.
    """

    def __init__(self, message: str, *, param: str | None = None) -> None:
        self.param = param
        super().__init__(message)


class NotDeployedError(UnsupportedError):
    """`starting`: there is an endpoint, and it will answer in some minutes. Else the user has to start one.
    `needs`: from what the model answers, and its price, without what to do."""

    def __init__(self, message: str, *, starting: bool, needs: str | None = None) -> None:
        self.starting, self.needs = starting, needs
        super().__init__(message, param="model")

    def of_job(self, job: str) -> NotDeployedError:
        """Return the error as one of a job's model: it names what to run, and in Python, for an answer."""
        if self.needs is None:
            return self
        return NotDeployedError(
            f"{self.needs}: `tuneport deploy {job}` (job.deploy() in Python) starts one; or, which is cheaper, "
            f"download the weights and run them here: `tuneport download {job} -o FOLDER` (job.download), then "
            "`tuneport chat FOLDER --backend local`",
            starting=False,
            needs=self.needs,
        )


class BudgetError(TuneportError):
    pass


class ConsentError(TuneportError):
    """`proposal`: the document of the job that was not agreed to; None if none was ready, or it is an endpoint."""

    def __init__(self, message: str, *, proposal: Mapping[str, object] | None = None) -> None:
        self.proposal = proposal
        super().__init__(message)

    def as_dict(self) -> dict[str, object]:
        return super().as_dict() | {"proposal": self.proposal}


class CheckFailedError(TuneportError):
    """`proposal`: the document of the job whose data fails."""

    def __init__(self, message: str, *, proposal: Mapping[str, object] | None = None) -> None:
        self.proposal = proposal
        super().__init__(message)

    def as_dict(self) -> dict[str, object]:
        return super().as_dict() | {"proposal": self.proposal}


class ModelNotOfferedError(TuneportError):
    def __init__(self, message: str, *, model: str, backend: str, nearest: Sequence[str] = ()) -> None:
        self.model, self.backend, self.nearest = model, backend, list(nearest)
        super().__init__(message)

    def as_dict(self) -> dict[str, object]:
        return super().as_dict() | {"model": self.model, "backend": self.backend, "nearest": self.nearest}


class NoBackendChosenError(ConfigError):
    """No backend was named, and not exactly one of those that have the model is set up: `backends` are, if any."""

    def __init__(self, message: str, *, model: str, backends: Sequence[str]) -> None:
        self.model, self.backends = model, list(backends)
        super().__init__(message)

    def as_dict(self) -> dict[str, object]:
        return super().as_dict() | {"model": self.model, "backends": self.backends}


class ProviderError(TuneportError):
    """A provider's error, mapped once: by HTTP status, and by code if the status is ambiguous."""

    exit_code = 3
    retryable = False

    def __init__(
        self,
        message: str,
        *,
        provider: str,
        http_status: int | None = None,
        code: str | None = None,
        request_id: str | None = None,
        retryable: bool | None = None,
        retry_after: float | None = None,
    ) -> None:
        self.provider, self.http_status, self.code, self.request_id = provider, http_status, code, request_id
        if retryable is not None:
            self.retryable = retryable
        self.retry_after = retry_after  # seconds, where the provider said so
        super().__init__(message)

    def as_dict(self) -> dict[str, object]:
        return super().as_dict() | {
            "provider": self.provider,
            "http_status": self.http_status,
            "code": self.code,
            "request_id": self.request_id,
            "retryable": self.retryable,
        }


class AuthError(ProviderError):
    exit_code = 2


class NotFoundError(ProviderError):
    pass


class RateLimitError(ProviderError):
    retryable = True


class QuotaError(ProviderError):
    pass


class RejectedError(ProviderError):
    pass


class UnavailableError(ProviderError):
    retryable = True


class UnresolvedStartError(ProviderError):
    """The answer to a submit was lost, and nothing shows whether the job runs: `tuneport resolve` takes the word of a
    person. Nothing is started until then."""


class StorageError(TuneportError):
    """This machine's disk refused: full, read-only, missing. Nobody's data is at fault, and it can be tried again."""


class TrainingError(TuneportError):
    exit_code = 3
