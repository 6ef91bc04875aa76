"""One plan a job: which model, which settings, what of the data, at what price, and what stands in the way."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from pathlib import Path

from tuneport.backends import backend_manifest
from tuneport.data.dataset import Dataset
from tuneport.data.tokens.tokens import count_dataset_tokens
from tuneport.errors import TuneportError
from tuneport.estimate.batching import TrainedRows
from tuneport.lifecycle.planning.planning import find_job_backend_readiness, plan_job_machine, read_job_dataset_facts
from tuneport.lifecycle.schema.records import JobRecord
from tuneport.lifecycle.service import JobService
from tuneport.lifecycle.submitting.spec_file import read_job_spec_file
from tuneport.manifests import Manifest, find_manifest_model, load_models
from tuneport.router import DatasetFacts, rank_backends
from tuneport.types import Adapter, JobStatus, Method, TuneSpec
from tuneport.workflows.migration.conversion import convert_migration_files
from tuneport.workflows.migration.effect import NewPlace, read_old_training, steps_line
from tuneport.workflows.migration.folder import SavedAccountFolder, SavedJob
from tuneport.workflows.migration.model_mapping import (
    ModelChoice,
    known_migration_target,
    migration_model_option,
    suggest_migration_replacements,
)
from tuneport.workflows.migration.origin import MigrationSourceJob
from tuneport.workflows.migration.plan import MigrationChoices, MigrationMovePlan
from tuneport.workflows.migration.translation import MIGRATED_FROM, MIGRATED_FROM_BACKEND, translate_migrated_spec


def earlier_migration_moves(workspace: JobService, source: str, target: str) -> dict[str, JobRecord]:
    """Return by the old job's id the newest of our rows that was started to replace it."""
    found: dict[str, JobRecord] = {}
    for row in workspace.store.jobs.all(backend=target):
        metadata = row.spec.get("metadata") or {}
        if metadata.get(MIGRATED_FROM_BACKEND) == source:
            found.setdefault(metadata[MIGRATED_FROM], row)
    return found


def plan_migration_move(
    workspace: JobService,
    folder: SavedAccountFolder,
    record: SavedJob,
    target: str,
    choices: MigrationChoices,
    earlier: Mapping[str, JobRecord],
    today: date,
) -> MigrationMovePlan:
    """Work out how the saved job would run at `target`. Sends nothing; what stands in the way is in `problems`."""
    job = record.job
    backend = workspace.backend(target)
    plan = MigrationMovePlan(
        job, target, ModelChoice(job.base_model, None, ""), third_party=backend.manifest.third_party
    )
    if _move_has_started(workspace, folder, plan, choices, earlier):
        return plan
    dataset = choices.data.get(job.id) or (folder.has_file(job.training_file) if job.training_file else None)
    try:
        spec_path = folder.job_folder(job.id) / "spec.toml"
        # Without a file the rest of the plan is still worth reading.
        here = dataset or Path("missing")
        old = read_job_spec_file(spec_path, dataset=here, method=job.method and job.method.value)
        if "method" not in old.model_fields_set and dataset is not None:
            old = read_job_spec_file(spec_path, dataset=here, method=Dataset.of_spec(old, dataset).method.value)
        if job.id in choices.data:
            old = old.model_copy(update={"dataset": choices.data[job.id].absolute()})
        if job.base_model != job.model:
            plan.notes.append(f"it continued from {job.model}; the new one starts from a base model")
        data = Dataset.of_spec(old)
        facts = _facts(plan, record, old, data, workspace.settings.home, given=job.id in choices.data)
        plan.model = _model(workspace, job, old, backend.manifest, choices, facts, today)
        _plan_new_spec(workspace, folder, plan, old, data, facts, choices, today)
    except TuneportError as error:
        plan.problems.append(str(error))
    return plan


def _move_has_started(
    workspace: JobService,
    folder: SavedAccountFolder,
    plan: MigrationMovePlan,
    choices: MigrationChoices,
    earlier: Mapping[str, JobRecord],
) -> bool:
    """Return whether an earlier run has started this move; one that never reached the provider does not count."""
    row = earlier.get(plan.job.id)
    if row is not None and row.job_status in (JobStatus.FAILED, JobStatus.CANCELLED):
        reason = row.job_error.message if row.job_error else row.status
        if row.remote_id is None:
            plan.notes.append(f"{row.id} was not started: {reason}")
            row = None
        elif choices.again:
            plan.notes.append(f"once more: {row.id} {row.status}")
            row = None
        else:
            plan.problems.append(f"it was moved as {row.id}, which {row.status}: {reason}; --again starts another job")
            return True
    plan.row = row
    if row is not None:
        plan.model = ModelChoice(plan.job.model, row.tune_spec.model, "as it was started")
        return True
    known = {other.id for other in earlier.values()}
    home = str(workspace.settings.home)
    for move in folder.moves():
        if (move.job, move.backend) == (plan.job.id, plan.backend) and move.row not in known and move.home != home:
            if not choices.again:
                plan.problems.append(
                    f"it was moved to {plan.backend} as {move.row} from another store; set TUNEPORT_HOME={move.home} "
                    "to continue it, or start another job with --again"
                )
                return True
    return False


def _facts(
    plan: MigrationMovePlan, record: SavedJob, old: TuneSpec, data: Dataset, home: Path, *, given: bool
) -> DatasetFacts | None:
    """Return what ranking needs of the data, or None, and note a problem, if there is none."""
    for lost in record.missing:
        if lost.what == "training file" and not old.dataset.is_file():
            plan.problems.append(f"no training file: {lost.reason}; give your own copy with --data {plan.job.id}=FILE")
            return None
        if lost.what == "validation file" and old.validation is None:
            plan.notes.append(f"without validation file: {lost.reason}")
    if not old.dataset.exists():
        plan.problems.append(
            f"no training file: {plan.job.backend} names none that could be saved; give your own copy "
            f"with --data {plan.job.id}=FILE"
        )
        return None
    read = data.for_method(old.method)
    held_out = None if old.validation is None else data.validation_like(old.validation)
    facts = read_job_dataset_facts(read, held_out, home=home)
    if given:
        plan.notes.append(_billed_tokens_note(plan.job, read))
    return facts


def _billed_tokens_note(job: MigrationSourceJob, dataset: Dataset) -> str:
    """Return a note on the user's copy: whether it can be the file that was trained on. OpenAI bills a known number of
    tokens a file."""
    from tuneport.manifests import load_manifest, manifest_names

    row = find_manifest_model(load_manifest(job.backend), job.model) if job.backend in manifest_names() else None
    epochs = job.hyperparameters.get("epochs")
    if (
        row is None
        or row.encoding is None
        or not job.trained_tokens
        or not epochs
        or job.method not in (None, Method.SFT)
    ):
        return "the training file is your own copy; nothing tells whether it is the one that was used"
    counted = count_dataset_tokens(dataset, row.encoding)
    if counted.approximate:
        return "the training file is your own copy; its tokens cannot be counted exactly"
    total = counted.total * int(epochs)
    if total == job.trained_tokens:
        return f"your copy is the file that was used: {counted.total:,} tokens x {epochs} epochs, exactly as billed"
    return (
        f"your copy may not be the file that was used: it has {counted.total:,} tokens x {epochs} epochs, and "
        f"{job.trained_tokens:,} were billed"
    )


def _model(
    workspace: JobService,
    job: MigrationSourceJob,
    old: TuneSpec,
    target: Manifest,
    choices: MigrationChoices,
    facts: DatasetFacts | None,
    today: date,
) -> ModelChoice:
    base = job.base_model
    given = migration_model_option(base, choices.models)
    if given is not None:
        return ModelChoice(base, given, "as you say")
    if old.model != job.model:
        return ModelChoice(base, old.model, "as spec.toml says")
    known = known_migration_target(base, job.backend, target, workspace.settings)
    if known is not None:
        return ModelChoice(base, *known)
    asked = TuneSpec(
        model=old.model,
        dataset=old.dataset,
        validation=old.validation,
        method=old.method,
        grader=old.grader,
        reward=old.reward,
        hyperparameters=old.hyperparameters.model_copy(update={"batch_size": "auto", "learning_rate": "auto"})
        if old.hyperparameters.learning_rate_multiplier == "auto"
        else old.hyperparameters.model_copy(update={"batch_size": "auto"}),
    )
    found = (
        []
        if facts is None
        else suggest_migration_replacements(asked, base, job.backend, target, workspace.settings, facts, today)
    )
    return ModelChoice(base, None, f"{target.title} does not have it, and no replacement is chosen", found)


def _source_manifest(job: MigrationSourceJob, workspace: JobService) -> Manifest | None:
    """Return the old backend's manifest, or None if it is not configured here, as that of a folder from elsewhere."""
    try:
        return backend_manifest(job.backend, workspace.settings)
    except TuneportError:
        return None


def _new_place(old: TuneSpec, target: Manifest, model: str, facts: DatasetFacts) -> NewPlace | None:
    """Return the model to tune, with the data as it counts it, or None if the backend does not list it."""
    offered = find_manifest_model(target, model)
    if offered is None:
        return None
    tokens, weights = facts.tokens(target, offered), load_models().find(model)
    return NewPlace(
        target,
        offered,
        TrainedRows(max(1, facts.rows), tokens.training, tokens.longest, tokens.usual, tokens.low, tokens.high),
        Adapter.LORA if old.adapter == "auto" else old.adapter,
        weights.params_b if weights else offered.params_b,
    )


def _plan_new_spec(
    workspace: JobService,
    folder: SavedAccountFolder,
    plan: MigrationMovePlan,
    old: TuneSpec,
    data: Dataset,
    facts: DatasetFacts | None,
    choices: MigrationChoices,
    today: date,
) -> None:
    job, backend = plan.job, workspace.backend(plan.backend)
    target = backend.manifest
    model_id = None
    if plan.model.name is None:
        names = [suggestion.name for suggestion in plan.model.suggestions]
        example = names[0] if names else "NAME"
        if facts is None or names:
            plan.problems.append(f"no model is chosen; say for example --model {job.base_model}={example}")
        else:
            plan.problems.append(
                f"{target.title} lists no model that can run it ({old.method}); choose another backend"
            )
    else:
        model_id = workspace.locate(plan.model.name, backend=plan.backend)[1]  # ModelNotOfferedError names the nearest
    place = None if model_id is None or facts is None else _new_place(old, target, model_id, facts)
    rows, seen = 1 if facts is None else max(1, facts.rows), folder.total_steps(job.id)
    trained = read_old_training(job, old, _source_manifest(job, workspace), rows, seen)
    spec, plan.lines = translate_migrated_spec(job, old, backend, place, trained)
    if facts is None:
        return
    spec = convert_migration_files(workspace, folder, plan, spec, data, target, choices)
    if plan.model.name is None:
        return
    plan.spec = spec.model_copy(update={"model": plan.model.name})
    plan.choice = rank_backends(
        plan.spec,
        [target],
        today=today,
        models=load_models(),
        dataset=facts,
        aliases=workspace.settings.aliases(plan.model.name),
        ready=find_job_backend_readiness(workspace.settings, [target]),
        machine=plan_job_machine(workspace.settings),
    )[0]
    if plan.choice.settings is not None:
        plan.lines.append(steps_line(trained, plan.choice.settings))
    plan.problems += [refusal.reason for refusal in plan.choice.refusals]
    if not plan.problems:
        backend.check(plan.spec.model_copy(update={"model": plan.choice.model}))
