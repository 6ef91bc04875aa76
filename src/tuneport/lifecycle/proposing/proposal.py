"""A job that is ready to start, as a person reads it before anything is paid or leaves the machine."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tuneport.data.checks import Finding, Verdict
from tuneport.estimate.cost import HOURS_PER_MONTH, endpoint_hourly_price
from tuneport.formatting import counted, duration, listed_names, money, size
from tuneport.lifecycle.planning.planning import Plan
from tuneport.lifecycle.proposing.terms import BindingTerm, job_term_documents
from tuneport.lifecycle.proposing.training_lines import few_steps_warning, training_lines
from tuneport.lifecycle.schema.records import JobRecord
from tuneport.lifecycle.submitting.hold_out import JobHoldOut
from tuneport.lifecycle.submitting.options import JobOptions
from tuneport.manifests import find_manifest_model
from tuneport.types import PreparedData, TuneSpec

OTHERS_TOLD = 3


@dataclass(frozen=True)
class JobProposal:
    """`spec` and `data` are what the backend would be sent; `notes` say which rows train nothing.

    `check`: what the checks say of the training file; None: they were not asked. `repeated`: an earlier job with the
    same data and settings on the same backend. `terms` are those that were never shown before. `held_out`: the rows
    of the dataset that the job is validated on, where no file was named.
    """

    spec: TuneSpec
    options: JobOptions
    plan: Plan
    data: PreparedData
    notes: tuple[str, ...] = ()
    check: tuple[Finding, ...] | None = None
    repeated: JobRecord | None = None
    terms: tuple[BindingTerm, ...] = ()
    held_out: JobHoldOut | None = None

    @property
    def source(self) -> Path:
        """Return the dataset as the user named it, with the rows that are held out."""
        return self.spec.dataset if self.held_out is None else self.held_out.source

    @property
    def backend(self) -> str:
        return self.plan.chosen.backend

    @property
    def model(self) -> str:
        return self.plan.chosen.model or self.spec.model

    @property
    def highest_price(self) -> float | None:
        """Return the most that training may cost, in US dollars, or None if that is not known."""
        return self.plan.chosen.highest_price

    @property
    def free_and_private(self) -> bool:
        """Return whether nothing is paid and nothing leaves the user's machines."""
        free = self.highest_price == 0 or self.plan.ranked.machine.own is None
        return free and not self.plan.third_party and self.plan.manifest.own_machine

    def lines(self) -> list[tuple[str, str]]:
        """Return what a person has to know, as labels and texts, the reasons against it first."""
        told = [
            *self._check(),
            ("repeats", self._repeats()),
            ("backend", self._backend()),
            ("data", self._data()),
            ("held out", self._held_out()),
            ("not used", self._left_out()),
            ("price", self._price()),
            ("serving", _serving(self.plan)),
            ("training", self._training()),
            *self._numbers(),
            ("time", self._time()),
            *(("note", note) for note in (*self.plan.chosen.warnings, *self.notes)),
            *(("terms", f"{term} (shown until a job has started there)") for term in self.terms),
        ]
        return [(label, text) for label, text in told if text]

    def as_dict(self) -> dict[str, Any]:
        """Return what `lines` say as a document for programs."""
        chosen, settings, held_out = self.plan.chosen, self.plan.chosen.settings, self.held_out
        others = [choice for choice in self.plan.choices if choice.allowed and choice.backend != chosen.backend]
        files = [file for file in (self.data.training, self.data.validation) if file is not None]
        return {
            "object": "tuneport.proposal",
            "backend": self.backend,
            "model": self.model,
            "named_by": self.plan.named_by,
            "alternatives": [
                {"backend": choice.backend, "model": choice.model, "usd": choice.quote.expected} for choice in others
            ],
            "third_party": self.plan.manifest.title if self.plan.third_party else None,
            "rows": sum(file.rows for file in files),
            "bytes": sum(file.bytes for file in files),
            "held_out": None if held_out is None else held_out.model_dump(mode="json"),
            "quote": chosen.quote.model_dump(mode="json"),
            "highest_usd": self.highest_price,
            "serving": _serving(self.plan),
            "method": self.spec.method.value,
            "adapter": chosen.adapter,
            "hyperparameters": {"epochs": chosen.epochs} | (settings.hyperparameters.given() if settings else {}),
            "sent": settings.sent if settings else {},
            "steps": settings.steps.model_dump(mode="json") if settings else None,
            "few_steps": few_steps_warning(settings, chosen.quote) if settings else None,
            "seconds": self.plan.estimate.seconds,
            "checks": [
                {"check": each.check, "verdict": each.verdict.value, "message": each.message, "fix": each.fix}
                for each in self.check or ()
            ],
            "repeats": None if self.repeated is None else self.repeated.id,
            "notes": [*chosen.warnings, *self.notes],
            "terms": job_term_documents(list(self.terms)),
        }

    def _repr_html_(self) -> str:
        from tuneport.pages.notebook import render_notebook_view

        return render_notebook_view(f"{self.source.name} to {self.backend}", head=("", ""), rows=self.lines())

    def _check(self) -> list[tuple[str, str]]:
        if self.check is None:
            return []
        failed, warned = self.failed_checks, self._with(Verdict.WARN)
        passed = len(self.check) - len(failed) - len(warned)
        told = [("FAIL", f"{each.check}: {each.message}{f'; {each.fix}' if each.fix else ''}") for each in failed]
        told += [("warn", f"{each.check}: {each.message}") for each in warned]
        return [*told, ("checks", f"{passed} of {len(self.check)} pass")]

    @property
    def failed_checks(self) -> list[Finding]:
        return self._with(Verdict.FAIL)

    def _with(self, verdict: Verdict) -> list[Finding]:
        return [] if self.check is None else [each for each in self.check if each.verdict is verdict]

    def _repeats(self) -> str:
        row = self.repeated
        if row is None:
            return ""
        return f"{row.id} trained the same data with the same settings on {row.created_at:%Y-%m-%d} ({row.status})"

    def _backend(self) -> str:
        chosen = self.plan.chosen
        others = [choice for choice in self.plan.choices if choice.allowed and choice.backend != chosen.backend]
        if self.plan.named_by is not None:
            why = self.plan.named_by
        else:
            why = "the best of those that can run it" if others else "the only one that can run it"
        told = [f"{choice.backend} {_about(choice.quote.expected)}" for choice in others[:OTHERS_TOLD]]
        return f"{self.model} on {chosen.backend} ({why}{'; also: ' if told else ''}{', '.join(told)})"

    def _data(self) -> str:
        files = [file for file in (self.data.training, self.data.validation) if file is not None]
        rows, bytes_ = sum(file.rows for file in files), sum(file.bytes for file in files)
        what = f"{counted(rows, 'row')} ({size(bytes_)})"
        if self.plan.third_party:
            return f"{what} leave this machine and go to {self.plan.manifest.title}, a third party"
        if self.plan.manifest.own_machine:
            return f"{what} stay on your machines"
        return f"{what} go to {self.plan.manifest.title}, which you run yourself"

    def _held_out(self) -> str:
        if self.held_out is None:
            return ""
        return f"{self.held_out}: not trained on, they show how well it does (--no-validation trains on all)"

    def _left_out(self) -> str:
        """Return the columns that are not trained on, and those that hold training signal and are left out anyway."""
        names = self.data.training.left_out
        return f"{listed_names(names)} (columns that are not trained on)" if names else ""

    def _price(self) -> str:
        quote = self.plan.chosen.quote
        if quote.expected is None:
            return f"not known, because {quote.unavailable}"
        if self.free_and_private:
            return "nothing is paid"
        span = ""
        if quote.low is not None and quote.high is not None and quote.low != quote.high:
            span = f", between {money(quote.low)} and {money(quote.high)}"
        dated = f" (price of {quote.as_of})" if quote.as_of else ""
        return f"about {money(quote.expected)}{span}{dated}"

    def _training(self) -> str:
        chosen = self.plan.chosen
        adapter = f", {chosen.adapter}" if chosen.adapter else ""
        return f"{self.spec.method}{adapter}, epochs {chosen.epochs}"

    def _numbers(self) -> list[tuple[str, str]]:
        chosen = self.plan.chosen
        if chosen.settings is None:
            return []
        return training_lines(chosen.settings, chosen.quote, own_machine=self.plan.manifest.own_machine)

    @property
    def left_to_service(self) -> str | None:
        """Return what to tell of a job whose `auto` stays the service's own, as its API defines it; else None."""
        rules, settings = self.plan.manifest.training, self.plan.chosen.settings
        if self.spec.provider_defaults != "auto" or not rules.offers_auto or settings is None:
            return None
        left = [settings.names[name] for name, who in settings.chosen_by.items() if who == "backend"]
        title = self.plan.manifest.title
        return f"{title} itself chooses {', '.join(left)}: they are auto, as its API defines it" if left else None

    def _time(self) -> str:
        estimate = self.plan.estimate
        return "" if estimate.seconds is None else f"about {duration(estimate.seconds)} ({estimate.seconds_because})"


def _about(usd: float | None) -> str:
    return "at an unknown price" if usd is None else "for nothing" if not usd else f"~{money(usd)}"


def _serving(plan: Plan) -> str:
    """Return what the tuned model will cost when it answers."""
    manifest = plan.manifest
    model = find_manifest_model(manifest, plan.chosen.model or "")
    if manifest.own_machine:
        return "on your machines"
    if model is not None and model.inference is not None:
        price = model.inference
        return (
            f"{money(price.usd_per_mtok_input)} in and {money(price.usd_per_mtok_output)} out per 1M tokens, and "
            "nothing while it is idle"
        )
    hourly = None if model is None else endpoint_hourly_price(manifest, model)
    if hourly is not None:
        return f"{money(hourly)} an hour while an endpoint is up: {money(hourly * HOURS_PER_MONTH)} for a whole month"
    return f"{manifest.title} publishes no price of answers"
