"""Consent: no personal data goes to a third party, and nothing is paid, before the user has agreed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, TypeAlias

from tuneport.backends.base import FineTuneBackend
from tuneport.data.dataset import Dataset
from tuneport.errors import CheckFailedError, ConfigError, ConsentError
from tuneport.estimate.cost import HOURS_PER_MONTH
from tuneport.formatting import money
from tuneport.lifecycle.planning.planning import Plan
from tuneport.lifecycle.proposing.proposal import JobProposal
from tuneport.types import Deployment, EndpointOffer, PreparedData, TuneSpec

Confirm: TypeAlias = Callable[[JobProposal], bool] | bool | None
"""Who agrees to a job: a function that is shown the proposal and says yes or no; False: the job starts without a
question; None: only a budget agrees."""
ConfirmEndpoint: TypeAlias = Callable[[EndpointOffer], bool] | bool | None
"""The same for an endpoint; None: only a limit of dollars an hour agrees."""
ChooseBackend: TypeAlias = Callable[[Plan], str | None]
"""A function that is shown the ranking where no backend was named; returns the name of one, or None for no job."""


def refuse_personal_upload(spec: TuneSpec, data: PreparedData, backend: str) -> None:
    """Look at the very files that would be uploaded."""
    from tuneport.data.checks.rows.personal import scan_personal_data

    for source, file in ((spec.dataset, data.training), (spec.validation, data.validation)):
        if file is None:
            continue
        found = scan_personal_data(file.path, file.format)
        if found.count:
            first, read = found.matches[0], Dataset.of_spec(spec, source)
            raise ConfigError(
                f"{source} holds what looks like personal data ({found.count} places; {first.kind} in record "
                f"{first.line}) and {backend} is a third party; `{read.command('check')}` shows them, "
                f"`{read.command('clean', '--redact', '-o', 'REDACTED.jsonl')}` replaces them, --allow-personal-data "
                "uploads them anyway"
            )


def choose_unnamed_backend(plan: Plan, choose: ChooseBackend | None) -> Plan:
    """Return the plan, or another one where no backend was named and the data would go to a third party: the one that
    `choose` names, or without it the user's own machine.

    A model's alias that leads to one backend only names it. Raises ConsentError that lists the backends if the own
    machine cannot run the job, or if none was chosen.
    """
    if plan.named_by is not None or not plan.third_party:
        return plan
    if set(plan.ranked.settings.aliases(plan.ranked.spec.model) or ()) == {plan.chosen.backend}:
        return replace(plan, named_by=f"what {plan.ranked.spec.model} stands for")
    allowed = [choice for choice in plan.choices if choice.allowed]
    if choose is not None:
        name = choose(plan)
        if name is None:
            raise ConsentError("no backend was chosen; nothing was done")
        return plan.ranked.choose(name)
    own = next((choice for choice in allowed if not plan.ranked.third_party(choice.backend)), None)
    if own is not None:
        return plan.ranked.choose(own.backend, named_by="no other was named, and this one sends nothing away")
    told = ", ".join(f"{choice.backend} ({_price_of(choice.quote.expected)})" for choice in allowed)
    raise ConsentError(
        f"no backend was named, and those that can run this job are third parties: {told}; name one with --backend "
        "or as BACKEND/MODEL, or set TUNEPORT_BACKEND or `backend = ` in tuneport.toml"
    )


def require_consent(proposal: JobProposal, confirm: Confirm, *, job_budget: float | None) -> JobProposal:
    """Return the proposal if it is agreed to: by a budget of at least its highest price, or by `confirm`.

    What was agreed to becomes the job's budget if it has none, so that it does not start at a higher price that the
    provider names later. `job_budget`: the standing limit for one job. Raises CheckFailedError if a check fails and
    ConfigError if an earlier job is repeated, unless the options say that this is meant, and ConsentError without an
    agreement.
    """
    failed = proposal.failed_checks
    if failed and not proposal.options.anyway:
        first = failed[0]
        more = f" (and {len(failed) - 1} more)" if len(failed) > 1 else ""
        command = Dataset.of_spec(proposal.spec, proposal.source).command("check")
        raise CheckFailedError(
            f"{proposal.source} fails the check {first.check}{more}: {first.message}; `{command}` shows the rows, "
            "--anyway trains on them",
            proposal=proposal.as_dict(),
        )
    if proposal.repeated is not None and not proposal.options.again:
        row = proposal.repeated
        raise ConfigError(
            f"{row.id} trained the same data with the same settings on {row.backend} ({row.status}, "
            f"{row.created_at:%Y-%m-%d}); use it, or pass --again to train once more"
        )
    highest = proposal.highest_price
    if confirm is False or proposal.free_and_private:
        return proposal
    for limit in (proposal.spec.budget, job_budget):
        if highest is not None and limit is not None and highest <= limit:
            return _within(proposal, limit)
    if not callable(confirm):
        raise ConsentError(_what_to_add(proposal, job_budget), proposal=proposal.as_dict())
    if not confirm(proposal):
        raise ConsentError("nothing was done: the answer was no", proposal=proposal.as_dict())
    return proposal if highest is None else _within(proposal, highest)


def _within(proposal: JobProposal, usd: float) -> JobProposal:
    if proposal.spec.budget is not None or usd <= 0:
        return proposal
    return replace(proposal, spec=proposal.spec.model_copy(update={"budget": usd}))


def _what_to_add(proposal: JobProposal, job_budget: float | None) -> str:
    highest = proposal.highest_price
    if highest is None:
        return (
            f"the price of {proposal.model} on {proposal.backend} is not known, so it was not agreed to; add --yes "
            "(confirm=False in Python) to pay it"
        )
    limit = "" if job_budget is None else f", above the standing limit of {money(job_budget)}"
    return (
        f"{proposal.model} on {proposal.backend} may cost {money(highest)}{limit}, which was not agreed to; add "
        f"--yes, --budget {_rounded_up(highest):g}, or set TUNEPORT_JOB_BUDGET (confirm=False or budget= in Python)"
    )


def _rounded_up(usd: float) -> float:
    """Return the amount in whole cents that is not below it."""
    return -(-usd * 100 // 1) / 100


def _price_of(usd: float | None) -> str:
    return "unknown price" if usd is None else f"~{money(usd)}"


def describe_endpoint_offer(offer: EndpointOffer) -> str:
    """Return what an endpoint costs, by the hour and by the month, and when it stops by itself."""
    price = "an unknown price"
    if offer.usd_per_hour is not None:
        price = f"{money(offer.usd_per_hour)} an hour, {money(offer.usd_per_hour * HOURS_PER_MONTH)} for a whole month"
    stops = f"; it stops after {offer.idle_minutes} minutes without a request" if offer.idle_minutes else ""
    if offer.idle_minutes == 0:
        stops = "; it never stops by itself"
    return f"an endpoint for {offer.model} on {offer.hardware} costs {price}{stops}"


def deploy_with_consent(
    backend: FineTuneBackend, model: str, options: Mapping[str, Any], confirm: ConfirmEndpoint
) -> Deployment:
    """Start an endpoint if its price is agreed to, by `max_usd_per_hour` in the options or by `confirm`. Raises
    ConsentError otherwise; nothing has been started then."""

    def agree(offer: EndpointOffer) -> None:
        if confirm is False or options.get("max_usd_per_hour") is not None:
            return
        if callable(confirm):
            if not confirm(offer):
                raise ConsentError("nothing was started: the answer was no")
            return
        limit = "" if offer.usd_per_hour is None else f", --max-usd-per-hour {_rounded_up(offer.usd_per_hour):g}"
        raise ConsentError(
            f"{describe_endpoint_offer(offer)}, which was not agreed to; add --yes{limit} (confirm=False or "
            "max_usd_per_hour= in Python)"
        )

    return backend.deploy(model, **options, **({"agree": agree} if backend.supports("deploy") else {}))
