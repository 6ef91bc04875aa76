"""Makes a job of a spec: proposes it, then writes its row."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from tuneport.backends.base import FineTuneBackend
from tuneport.data.dataset import Dataset
from tuneport.errors import ConfigError
from tuneport.lifecycle.planning.planning import DEFAULT_ENCODING, Plan
from tuneport.lifecycle.proposing.check_cache import CheckCache
from tuneport.lifecycle.proposing.consent import ChooseBackend, choose_unnamed_backend, refuse_personal_upload
from tuneport.lifecycle.proposing.held_out import absolute_dataset_path, hold_out_rows, with_hold_out_finding
from tuneport.lifecycle.proposing.proposal import JobProposal
from tuneport.lifecycle.proposing.terms import BindingTerm, list_unshown_terms
from tuneport.lifecycle.schema.records import JobRecord
from tuneport.lifecycle.store.requests import JobRequestClaim
from tuneport.lifecycle.store.store import Store, UnknownJobError
from tuneport.lifecycle.submitting.hold_out import HoldOut, read_job_pictures
from tuneport.lifecycle.submitting.options import JobOptions
from tuneport.lifecycle.worker.unclear_starts import unclear_start_wait
from tuneport.lifecycle.worker.worker import JobWorker
from tuneport.manifests import Manifest, find_manifest_model
from tuneport.settings import Settings
from tuneport.types import DataFile, JobStatus, PreparedData, TuneSpec


@dataclass(frozen=True)
class JobSubmitter:
    """`plan` is that of the service; `monthly_budget`: what all jobs of the calendar month may cost, in US dollars."""

    plan: Callable[..., Plan]
    store: Store
    settings: Settings
    open_backend: Callable[[str], FineTuneBackend]
    worker: JobWorker
    monthly_budget: float | None

    def propose(
        self,
        spec: TuneSpec,
        options: JobOptions,
        *,
        backend: str | None,
        dataset: Dataset | None,
        choose: ChooseBackend | None = None,
        hold_out: HoldOut = None,
        with_consent: bool = False,
    ) -> JobProposal:
        """Return the job with its backend, price and converted data. No third party is taken by itself. `hold_out`:
        the share of its rows that it is validated on. `with_consent`: it has to be agreed to, so the data is checked,
        and earlier jobs are compared."""
        job_data = hold_out_rows(spec, dataset, hold_out, home=self.settings.home)
        spec, dataset = job_data.spec, job_data.dataset
        options.check(spec)
        planned = self.plan(spec, backend=backend, dataset=dataset)
        planned = choose_unnamed_backend(planned, choose)
        choice = planned.chosen
        assert choice.model is not None  # `choose` gives no backend that does not offer the model
        opened = self.open_backend(choice.backend)
        spec = self._with_references(spec, choice.backend)
        settled = {} if choice.settings is None else {"hyperparameters": choice.settings.hyperparameters}
        opened.check(spec.model_copy(update={"model": choice.model} | ({} if opened.settles_numbers else settled)))
        unclear_start_wait(opened)  # a wrong setting is told now, not when an answer was lost
        data, notes = self._prepare(spec, planned)
        if planned.third_party and not options.allow_personal_data:
            refuse_personal_upload(spec, data, choice.backend)
        validation = None if spec.validation is None else absolute_dataset_path(spec.validation)
        spec = spec.model_copy(update={"dataset": absolute_dataset_path(spec.dataset), "validation": validation})
        if options.delete_files is None:
            options = options.updated({"delete_files": self.settings.delete_files(choice.backend)})
        proposal = JobProposal(spec, options, planned, data, tuple(notes), held_out=job_data.held_out)
        return self._checked(proposal, job_data.whole) if with_consent else proposal

    def _checked(self, proposal: JobProposal, whole: Dataset | None) -> JobProposal:
        """Return the proposal with what the checks say of the data; `whole`: with the rows that are held out of it, so
        that the lines are those of the user's file."""
        from tuneport.data.tokens.tokenizer import TokenizerVocabulary

        planned, spec, data = proposal.plan, proposal.spec, proposal.data
        if data.validation is not None and data.validation.sha256 == data.training.sha256:
            raise ConfigError(
                f"{spec.validation} is the training file, so it would show nothing; name rows that are not trained on: "
                f"`{planned.dataset.command('split', '-o', 'FOLDER')}` holds some out"
            )
        offered = find_manifest_model(planned.manifest, proposal.model)
        context = None if offered is None else offered.context_for(spec.method.value)
        vocabulary = TokenizerVocabulary((offered and offered.encoding) or DEFAULT_ENCODING, context=context)
        checked, validation = planned.dataset, planned.validation
        if whole is not None:
            checked, validation = whole, None
        kept = CheckCache(self.settings.home / "cache" / "checks")
        findings = kept.findings(checked, validation, vocabulary, method=spec.method)
        findings = with_hold_out_finding(findings, spec, proposal.held_out)
        settings = planned.chosen.settings
        settled = {} if settings is None else {"hyperparameters": settings.hyperparameters}
        repeated = self.store.jobs.find_repeated(
            spec.model_copy(update=settled), proposal.data, backend=proposal.backend, model=proposal.model
        )
        terms = list_unshown_terms(self.store, planned.manifest, proposal.model, mark=False)
        return replace(proposal, check=findings, repeated=repeated, terms=tuple(terms))

    def add(
        self,
        proposal: JobProposal,
        *,
        show_terms: Callable[[list[BindingTerm]], None] | None = None,
        claim: JobRequestClaim | None = None,
    ) -> JobRecord:
        """Write the job's row. `show_terms` and `claim` are as in `JobService.submit`."""
        planned = proposal.plan
        if proposal.terms or show_terms is not None:  # those of a proposal are in it
            terms = list_unshown_terms(self.store, planned.manifest, proposal.model, mark=True)
            if terms and show_terms is not None:
                show_terms(terms)
        row = self.store.jobs.add(
            proposal.spec,
            proposal.data,
            backend=proposal.backend,
            model=proposal.model,
            quote=planned.chosen.quote,
            estimate=planned.estimate,
            options=proposal.options,
            monthly_budget=self.monthly_budget,
            claim=claim,
        )
        if proposal.left_to_service:
            self.worker.events.add_tuneport_event(row.id, proposal.left_to_service, type_="settings")
        if proposal.held_out is not None:
            told = f"{proposal.held_out.validation_rows:,} rows are held out for validation"
            self.worker.events.add_tuneport_event(row.id, told, type_="dataset", once=f"{row.id} held out")
        for note in proposal.notes:
            self.worker.events.add_tuneport_event(
                row.id, note, level="warning", type_="dataset", once=f"{row.id} {note}"[:190]
            )
        return row

    def _with_references(self, spec: TuneSpec, backend: str) -> TuneSpec:
        """Return the spec with the backend's own names of our jobs, and with whole paths of what a reward needs."""
        if spec.from_checkpoint is not None:
            checkpoint = self._remote_checkpoint(spec.from_checkpoint, backend)
            spec = spec.model_copy(update={"from_checkpoint": checkpoint})
        if spec.reward_function is not None:
            return spec.model_copy(update={"reward_folder": spec.reward_folder or Path.cwd()})
        if spec.reward is not None:
            return spec.model_copy(update={"reward": self._reward_model(spec.reward, backend)})
        return spec

    def _remote_checkpoint(self, wanted: str, backend: str) -> str:
        """Return the backend's own name of `JOB[:STEP]` if JOB is one of ours; else return it unchanged."""
        job_id, colon, step = wanted.rpartition(":") if re.fullmatch(r".+:\d+", wanted) else (wanted, "", "")
        try:
            row = self.store.jobs.get(job_id)
        except UnknownJobError:
            return wanted
        if row.backend != backend:
            raise ConfigError(
                f"{row.id} ran on {row.backend}, and its weights are there; submit with --backend {row.backend} to "
                f"continue from them, or without from_checkpoint on {backend}"
            )
        if row.job_status is not JobStatus.SUCCEEDED and not step:
            raise ConfigError(
                f"{row.id} is {row.status} and has no weights to continue from; give JOB:STEP or another job"
            )
        return f"{row.remote_id}{colon}{step}"

    def _reward_model(self, wanted: str, backend: str) -> str:
        """Return a folder's whole path, or the backend's id of one of our jobs; else return it unchanged."""
        if Path(wanted).expanduser().is_dir():
            return str(absolute_dataset_path(Path(wanted).expanduser()))
        try:
            row = self.store.jobs.get(wanted)
        except UnknownJobError:
            return wanted
        if row.backend != backend or not row.tune_spec.method.traits.scores:
            raise ConfigError(f"{row.id} trains no reward model on {backend}; name one, a function or a folder")
        if row.job_status is not JobStatus.SUCCEEDED or row.remote_id is None:
            raise ConfigError(f"the reward model {row.id} is {row.status}, not finished; wait for it, or name another")
        return row.remote_id

    def _prepare(self, spec: TuneSpec, planned: Plan) -> tuple[PreparedData, list[str]]:
        """Return the files for the backend, and notes on rows that train nothing. Raises DatasetError if all rows are
        such."""
        from tuneport.data.conversion.prepare import convert_dataset_for_method, dataset_upload_format
        from tuneport.data.conversion.untrained import UntrainedDatasetRecords

        assert planned.chosen.model is not None
        manifest = planned.manifest
        limit = _trained_tokens(spec, manifest, planned.chosen.model)
        target = dataset_upload_format(spec.method, planned.dataset.format, manifest.data_format, manifest.also_takes)

        def prepared(dataset: Dataset) -> tuple[DataFile, list[str]]:
            seen = UntrainedDatasetRecords(limit)
            pictures = read_job_pictures(dataset)
            file = convert_dataset_for_method(
                spec.method, dataset, target, self.worker.files, untrained=seen, pictures=pictures
            )
            return file, [*seen.warnings(dataset.path), *([] if pictures is None else [pictures.note])]

        training, warnings = prepared(planned.dataset)
        if planned.validation is None:
            return PreparedData(training=training), warnings
        held_out, more = prepared(planned.validation)
        return PreparedData(training=training, validation=held_out), warnings + more


def _trained_tokens(spec: TuneSpec, manifest: Manifest, model: str) -> int | None:
    """Return the most tokens of a row that are trained on, or None if that is unknown before the model is loaded."""
    offered, wanted = find_manifest_model(manifest, model), spec.hyperparameters.max_length
    known = [offered.context if offered is not None else None, wanted if isinstance(wanted, int) else None]
    return min((tokens for tokens in known if tokens is not None), default=None)
