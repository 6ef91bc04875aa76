"""Jobs for Python code: `submit`, `propose`, `job`, `jobs` and `deploy`.

Each works on the workspace that it is given (`opened`), else on one that all calls with the same settings share, and
that is closed when no job of it is left.
"""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack, get_type_hints, overload

from tuneport.data.dataset import Dataset, DatasetLike
from tuneport.data.rows.reading_options import READING_FIELDS
from tuneport.errors import ConfigError
from tuneport.lifecycle.handle import Job, JobFailedError, given_job_options
from tuneport.lifecycle.open_service import OpenJobService, open_shared_job_service
from tuneport.lifecycle.proposing.terms import BindingTerm
from tuneport.lifecycle.submitting.hold_out import SHARE, HoldOut, parse_hold_out_share
from tuneport.lifecycle.submitting.options import JobOptions, OptionKeywords
from tuneport.lifecycle.submitting.spec_file import build_job_tune_spec
from tuneport.settings import Settings
from tuneport.types import Deployment, Hyperparameters, JobStatus, TuneSpec

if TYPE_CHECKING:
    from tuneport.lifecycle.proposing.consent import Confirm, ConfirmEndpoint
    from tuneport.lifecycle.proposing.proposal import JobProposal

log = logging.getLogger("tuneport")


class SpecKeywords(OptionKeywords, total=False):
    """Keywords of `submit` beside the dataset: the fields of `TuneSpec`, but the dataset and the model."""

    validation: DatasetLike | float | None
    columns: Mapping[str, str] | None
    format: str | None
    system: str | None
    template: str | None
    ignored_columns: Sequence[str]
    keep_unliked: bool
    inline_images: bool
    method: str | None
    grader: Mapping[str, Any] | None
    reward: str | None
    reward_folder: str | Path | None
    adapter: str
    hyperparameters: Hyperparameters | Mapping[str, Any] | None
    provider_defaults: bool
    suffix: str | None
    seed: int | None
    from_checkpoint: str | None
    wandb: Mapping[str, Any] | None
    budget: float | None
    metadata: Mapping[str, str] | None
    provider_options: Mapping[str, Any] | None


ShowTerms = Callable[[list[BindingTerm]], None]


def log_job_terms(terms: list[BindingTerm]) -> None:
    """Write the terms to the `tuneport` log as warnings, which Python shows if no logging is set up."""
    for term in terms:
        log.warning("terms that apply (shown once): %s", term)


@overload
def submit(
    dataset: TuneSpec,
    *,
    backend: str | None = None,
    options: JobOptions = ...,
    confirm: Confirm = ...,
    show_terms: ShowTerms = ...,
    settings: Settings | None = None,
    opened: OpenJobService | None = None,
    **given: Unpack[OptionKeywords],
) -> Job: ...


@overload
def submit(
    dataset: DatasetLike,
    *,
    model: str,
    backend: str | None = None,
    options: JobOptions = ...,
    confirm: Confirm = ...,
    show_terms: ShowTerms = ...,
    settings: Settings | None = None,
    opened: OpenJobService | None = None,
    **given: Unpack[SpecKeywords],
) -> Job: ...


def submit(
    dataset: TuneSpec | DatasetLike,
    *,
    backend: str | None = None,
    options: JobOptions = JobOptions(),
    confirm: Confirm = None,
    show_terms: ShowTerms = log_job_terms,
    settings: Settings | None = None,
    opened: OpenJobService | None = None,
    **given: Any,
) -> Job:
    """Start a fine-tuning job and return as soon as the backend has it; `job.wait()` follows it.

    The first argument is a whole `TuneSpec`, or a dataset; then the fields of `TuneSpec` are keywords, of which `model`
    is needed. The fields of `JobOptions` are keywords as well, which replace those in `options`.

    Rows that are Python objects are kept in a file of the home (`datasets/`), since the job refers to them.

    If the account is full, the job is returned as it waits (`submitting`, its `note` says for what): `job.wait()` then
    waits for its slot, too.

    `confirm` is a function that is shown the job (`JobProposal`: checks, price, what leaves this machine) and
    agrees to it or not; False starts the job without a question. By default a job that is paid, or whose data goes
    to a third party, needs a `budget`, or a standing limit (`TUNEPORT_JOB_BUDGET`), of at least its highest price.
    `anyway` trains on data that fails a check, `again` repeats an earlier job.

    `backend` None: `TUNEPORT_BACKEND`, `tuneport.toml`, else the best-ranked, but no third party by itself. `method`
    None: what the data is made for. `validation` is a file or rows, or a share of the rows to hold out; by default 0.1
    of a dataset of 200 rows or more, False trains on all rows. `columns` maps the names that a format expects to those
    in the files (`--map`); `format`, `system`, `template`, `ignored_columns` and `keep_unliked` say further how the
    data is read (see `ReadingOptions`); a `Dataset` has its own. `grader` is rft's, in OpenAI's shape. `reward` is
    grpo's and rloo's: `package.module:function`, or a reward model by its job or as a folder. `from_checkpoint` is a
    finished job (ours or the backend's id), `:STEP` behind it for one of its checkpoints; `wandb` has project, and
    name, entity and tags if wanted. `show_terms` is given the terms that apply at a backend, and the licence of the
    base model, before the first job there; by default they are logged. `opened` is the workspace to use in place of the
    shared one, as `JobService.submit` does. Raises DatasetError, ConsentError, CheckFailedError, ModelNotOfferedError,
    BudgetError, UnsupportedError or ConfigError before anything is sent, and JobFailedError if the backend refused the
    job. Raises ProviderError if the backend is out of reach; the job's row stays, and `tuneport.job(ID).wait()`
    continues it.
    """
    opened = opened or open_shared_job_service(settings)
    here = opened.service
    proposal = _proposed(opened, "submit", dataset, backend, options, given)
    row = here.submit_proposal(proposal, confirm=confirm, show_terms=show_terms)
    row = here.start(row.id)
    if row.job_status is JobStatus.FAILED and row.remote_id is None:
        failure = row.job_error
        raise JobFailedError(f"{row.id} was not started: {failure.message if failure else 'no reason given'}", failure)
    return Job(opened, row)


@overload
def propose(
    dataset: TuneSpec,
    *,
    backend: str | None = None,
    options: JobOptions = ...,
    settings: Settings | None = None,
    opened: OpenJobService | None = None,
    **given: Unpack[OptionKeywords],
) -> JobProposal: ...


@overload
def propose(
    dataset: DatasetLike,
    *,
    model: str,
    backend: str | None = None,
    options: JobOptions = ...,
    settings: Settings | None = None,
    opened: OpenJobService | None = None,
    **given: Unpack[SpecKeywords],
) -> JobProposal: ...


def propose(
    dataset: TuneSpec | DatasetLike,
    *,
    backend: str | None = None,
    options: JobOptions = JobOptions(),
    settings: Settings | None = None,
    opened: OpenJobService | None = None,
    **given: Any,
) -> JobProposal:
    """Return a job as `submit` would start it, checked and priced: what it costs, and which rows go to whom.

    Nothing is started, paid or sent away. The arguments are those of `submit`, and so are the errors before anything is
    sent, but for those of a missing agreement.
    """
    return _proposed(opened or open_shared_job_service(settings), "propose", dataset, backend, options, given)


def _proposed(
    opened: OpenJobService,
    verb: str,
    dataset: TuneSpec | DatasetLike,
    backend: str | None,
    options: JobOptions,
    given: dict[str, Any],
) -> JobProposal:
    options = options.updated({name: given.pop(name) for name in JobOptions.model_fields if name in given})
    if isinstance(dataset, TuneSpec):
        spec, data, hold_out = dataset, None, None
        if given:
            raise ConfigError(f"the spec has its own {', '.join(given)}; change it there: spec.model_copy(update=...)")
    else:
        hold_out = _hold_out(given)
        spec, data = _spec_of(verb, dataset, given, opened.settings.home / "datasets")
    return opened.service.propose(spec, backend=backend, options=options, dataset=data, hold_out=hold_out)


def _hold_out(given: dict[str, Any]) -> HoldOut:
    """Return the share of rows that `validation` means, and take it out of the keywords if it names no file."""
    wanted = given.get("validation")
    if wanted is None:
        return "auto"
    if isinstance(wanted, str):
        wanted = parse_hold_out_share(wanted)
    if not isinstance(wanted, int | float):
        return None
    del given["validation"]
    return SHARE if wanted is True else float(wanted) or None


def _spec_of(verb: str, dataset: DatasetLike, given: dict[str, Any], kept: Path) -> tuple[TuneSpec, Dataset]:
    """Return the spec that the keywords describe. Raises TypeError for an unknown keyword, as any Python function does.

    Rows that are Python objects are written to files in the folder `kept`.
    """
    unknown = set(given) - set(SpecKeywords.__annotations__) - {"model"}
    if unknown:
        raise TypeError(f"{verb}() got an unexpected keyword argument {min(unknown)!r}")
    if "model" not in given:
        raise TypeError(f"{verb}() missing 1 required keyword-only argument: 'model'")
    data = Dataset.of(dataset, **{name: given.pop(name) for name in READING_FIELDS if name in given}).kept_in(kept)
    if given.get("validation") is not None:
        given["validation"] = Dataset.of(given["validation"]).kept_in(kept).path
    return build_job_tune_spec(data, given), data


def _public_signature(function: Callable[..., Any]) -> inspect.Signature:
    """Return the signature with every keyword, for `help` and editors."""
    own = inspect.signature(function)
    fields = {**TuneSpec.model_fields, **JobOptions.model_fields}
    named = []
    for name, hint in ({"model": str | None} | get_type_hints(SpecKeywords)).items():
        has_default = name in JobOptions.model_fields or name in ("adapter", "provider_defaults")
        default = fields[name].default if has_default else None
        named.append(inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=hint))
    first, *others = [each for each in own.parameters.values() if each.kind is not inspect.Parameter.VAR_KEYWORD]
    return own.replace(parameters=[first, *named, *others])


submit.__signature__ = _public_signature(submit)  # type: ignore[attr-defined]
propose.__signature__ = _public_signature(propose)  # type: ignore[attr-defined]


def job(job_id: str, *, settings: Settings | None = None, opened: OpenJobService | None = None) -> Job:
    """Return a job by its id, the backend's id, or the beginning of ours.

    Raises UnknownJobError, a ConfigError, if there is none, and ConfigError if several begin so.
    """
    opened = opened or open_shared_job_service(settings)
    return Job(opened, opened.service.job(job_id))


def jobs(
    *, limit: int | None = None, settings: Settings | None = None, opened: OpenJobService | None = None
) -> list[Job]:
    """Return the jobs, newest first, as last known."""
    opened = opened or open_shared_job_service(settings)
    return [Job(opened, row) for row in opened.service.store.jobs.all(limit=limit)]


def deploy(
    model: str | Job,
    *,
    backend: str | None = None,
    hardware: str | None = None,
    replicas: int | None = None,
    inactive_timeout: int | None = None,
    max_usd_per_hour: float | None = None,
    confirm: ConfirmEndpoint = None,
    settings: Settings | None = None,
    opened: OpenJobService | None = None,
) -> Deployment:
    """Start an endpoint for a tuned model: a job, its id, or the model's name. It costs money while it is up.

    `hardware` is a part of its name, by default the cheapest that can; `inactive_timeout` minutes without a request
    stop it, 0 never does. It may still be starting. It needs `max_usd_per_hour`, or `confirm`: a function that is
    shown the `EndpointOffer` and agrees to it or not, or False, which starts it without a question. Raises
    ConsentError without an agreement, UnsupportedError if the backend has no endpoints, ConfigError for a job
    without a model.
    """
    opened = opened or open_shared_job_service(settings)
    options = given_job_options(
        hardware=hardware, replicas=replicas, inactive_timeout=inactive_timeout, max_usd_per_hour=max_usd_per_hour
    )
    named = model.id if isinstance(model, Job) else model
    return opened.service.deploy(named, options, backend=backend, confirm=confirm)
