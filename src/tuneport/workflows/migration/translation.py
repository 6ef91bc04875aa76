"""Translation of the old job's settings to the new backend, with the reasons, line by line.

The backend itself says which settings it takes (`check`), one by one; a setting that it does not take, or only within
other limits, is named and left at `auto`.
"""

from __future__ import annotations

from typing import Any

from tuneport.backends.base import FineTuneBackend
from tuneport.data.rows.reading_options import ReadingOptions
from tuneport.errors import ConfigError, TuneportError, UnsupportedError
from tuneport.formatting import money
from tuneport.manifests import Manifest, find_manifest_model
from tuneport.types import Hyperparameters, TuneSpec
from tuneport.workflows.migration.effect import NewPlace, OldTraining, carry_batching, carry_rate
from tuneport.workflows.migration.origin import FROM_CHECKPOINT, MigrationSourceJob
from tuneport.workflows.migration.setting import MigratedSetting

MIGRATED_FROM = "migrated_from"
MIGRATED_FROM_BACKEND = "migrated_from_backend"


def translate_migrated_spec(
    job: MigrationSourceJob,
    old: TuneSpec,
    backend: FineTuneBackend,
    place: NewPlace | None,
    trained: OldTraining,
) -> tuple[TuneSpec, list[MigratedSetting]]:
    """Return the spec for `backend`, and what became of each setting. `old` is the job's spec file, edited or not.

    `place` has the model to tune, if one is chosen: it decides the learning rate and the batch that bring the effect of
    the old job (`trained`) about. Without it the spec keeps the old model's name.
    """
    target = backend.manifest
    base = TuneSpec(
        model=old.model if place is None else place.offered.id,
        dataset=old.dataset,
        validation=old.validation,
        method=old.method,
        grader=old.grader,
        reward=old.reward,
        reward_folder=old.reward_folder,
        metadata=_metadata(old, job, target),
    )
    lines = [MigratedSetting("method", old.method.value, old.method.value)]
    changes: dict[str, Any] = {}
    kept, numbers = _numbers(job, old, backend, base, place, trained)
    lines += numbers
    adapter = old.adapter
    if adapter != "auto":
        refused = _refusal(backend, base.model_copy(update={"adapter": adapter}))
        lines.append(MigratedSetting("adapter", adapter.value, None if refused else adapter.value, refused))
        if not refused:
            changes["adapter"] = adapter
    changes["hyperparameters"] = Hyperparameters.model_validate(kept)
    if old.suffix:
        line = _suffix_line(old.suffix, target)
        lines.append(line)
        changes["suffix"] = line.new
    for name, value in (("seed", old.seed), ("wandb", old.wandb)):
        if value is not None:
            refused = _refusal(backend, base.model_copy(update={name: value}))
            text = str(value) if name == "seed" else f"project {old.wandb.project}" if old.wandb else ""
            lines.append(MigratedSetting(name, text, None if refused else text, refused))
            if not refused:
                changes[name] = value
    if old.budget is not None:
        lines.append(MigratedSetting("budget", money(old.budget), money(old.budget)))
        changes["budget"] = old.budget
    reading = ReadingOptions.of_spec(old)
    lines += [MigratedSetting(label, text, text) for label, text in reading.shown().items()]
    changes |= reading.given()
    start = old.from_checkpoint or job.other.get(FROM_CHECKPOINT)
    if start is not None:
        lines.append(MigratedSetting(FROM_CHECKPOINT, str(start), None, "the new job starts from a base model"))
    for name, value in job.other.items():
        if name == FROM_CHECKPOINT:
            continue
        lines.append(MigratedSetting(name, _text(value), None, f"{job.backend}'s own setting"))
    for name in old.provider_options:
        lines.append(MigratedSetting(name, _text(old.provider_options[name]), None, f"{job.backend}'s own option"))
    return base.model_copy(update=changes), lines


def _numbers(
    job: MigrationSourceJob,
    old: TuneSpec,
    backend: FineTuneBackend,
    base: TuneSpec,
    place: NewPlace | None,
    trained: OldTraining,
) -> tuple[dict[str, Any], list[MigratedSetting]]:
    """Return the hyperparameters of the new job, and a line for each of the old ones."""
    given = old.hyperparameters.given()
    kept: dict[str, Any] = {}
    carried: dict[str, MigratedSetting] = {}
    batching = None if place is None else carry_batching(trained, given, base, place)
    if batching is not None:
        kept |= batching.numbers
        carried |= batching.lines
    multiplier = given.get("learning_rate_multiplier")
    if place is not None and multiplier is not None:
        batch = None if batching is None else batching.examples
        if batch is None:
            batch = trained.examples or given.get("batch_size")
        rate = carry_rate(multiplier, trained, batch, base.method, place)
        if rate is not None:
            kept |= rate.numbers
            carried |= rate.lines
    lines = []
    for name, value in given.items():
        line = carried.pop(name, None)
        if line is None:
            line = _number_line(job, name, value, backend, base)
            if line.new is not None:
                kept[name] = value
            line = _with_open_rate(line, place, backend.manifest)
        lines.append(line)
    return kept, [*lines, *carried.values()]


def _with_open_rate(line: MigratedSetting, place: NewPlace | None, target: Manifest) -> MigratedSetting:
    """Return the line of a multiplier with what it will multiply, where no model is chosen yet."""
    if place is not None or line.name != "learning_rate_multiplier" or line.new is None:
        return line
    if target.training.rate == "multiplier":
        return line
    return MigratedSetting(line.name, line.old, line.new, "times the rate that suits the model, once one is chosen")


def _number_line(
    job: MigrationSourceJob, name: str, value: Any, backend: FineTuneBackend, base: TuneSpec
) -> MigratedSetting:
    target = backend.manifest
    try:
        numbers = Hyperparameters.model_validate({name: value})
        refused = _refusal(backend, base.model_copy(update={"hyperparameters": numbers}))
    except ValueError as error:
        refused = str(error)
    if refused:
        if name == "learning_rate":
            refused = f"{target.name} takes a multiplier of a rate that it does not publish; it chooses"
        return MigratedSetting(name, _text(value), None, refused)
    limits = getattr(target.limits, name, None)
    if limits is not None and not limits.contains(value):
        return MigratedSetting(name, _text(value), None, f"{target.name} takes {limits}; it chooses")
    row = find_manifest_model(target, base.model)
    most = None if row is None else {"batch_size": row.batch_size_max, "lora_rank": row.lora_rank_max}.get(name)
    if most is not None and value > most:
        return MigratedSetting(
            name, _text(value), None, f"{target.name} takes at most {most} for {base.model}; it chooses"
        )
    why = f"as {job.backend} ran it" if name == "epochs" else ""
    return MigratedSetting(name, _text(value), _text(value), why)


def _suffix_line(suffix: str, target: Manifest) -> MigratedSetting:
    most = target.limits.suffix_max
    if most is None or len(suffix) <= most.value:
        return MigratedSetting("suffix", suffix, suffix)
    return MigratedSetting("suffix", suffix, suffix[: most.value], f"{target.name} takes {most.value} characters")


def _metadata(old: TuneSpec, job: MigrationSourceJob, target: Manifest) -> dict[str, str]:
    """Return the job's own pairs, then its origin. If there are too many for the target, the job's own ones are
    dropped."""
    ours = {MIGRATED_FROM: job.id, MIGRATED_FROM_BACKEND: job.backend}
    most = target.limits.metadata_pairs
    theirs = {name: value for name, value in old.metadata.items() if name not in ours}
    if most is not None:
        theirs = dict(list(theirs.items())[: most.value - len(ours) - 1])  # one is tuneport's token
    return theirs | ours


def _refusal(backend: FineTuneBackend, spec: TuneSpec) -> str:
    """Return why the backend does not take the spec, in a few words; empty if it does."""
    try:
        backend.check(spec)
    except (UnsupportedError, ConfigError) as error:
        return _shorten_error(str(error), backend.name)
    except TuneportError as error:
        return str(error)
    return ""


def _shorten_error(message: str, name: str) -> str:
    """Return the error without the backend's name and the advice, which is followed here."""
    first = message.partition(";")[0].partition(" (it takes")[0].removeprefix("the backend ")
    return first if first.startswith(name) else f"{name}: {first}"


def _text(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
