"""Translation of the old job's settings to the new backend, with the reasons, line by line.

The backend itself says which settings it takes (`check`), one by one; a setting that it does not take, or only within
other limits, is named and left at `auto`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from tuneport.backends.base import FineTuneBackend
from tuneport.backends.local.request import local_run_keeps_best_epoch
from tuneport.backends.together.request import DEFAULT_LEARNING_RATE
from tuneport.data.rows.reading_options import ReadingOptions
from tuneport.errors import ConfigError, TuneportError, UnsupportedError
from tuneport.estimate.hyperparameters import recommend_hyperparameters
from tuneport.formatting import money
from tuneport.manifests import Manifest, find_manifest_model, load_models
from tuneport.types import Adapter, Hyperparameters, TuneSpec
from tuneport.workflows.migration.origin import FROM_CHECKPOINT, MigrationSourceJob

MIGRATED_FROM = "migrated_from"
MIGRATED_FROM_BACKEND = "migrated_from_backend"

Fate = Literal["same", "changed", "dropped"]


@dataclass(frozen=True)
class MigratedSetting:
    """One setting: `old` as it was, `new` as it will be (None: it has no equivalent), and why."""

    name: str
    old: str
    new: str | None
    why: str = ""

    @property
    def fate(self) -> Fate:
        return "dropped" if self.new is None else "same" if self.new == self.old else "changed"

    def as_dict(self) -> dict[str, Any]:
        return {"setting": self.name, "old": self.old, "new": self.new, "fate": self.fate, "why": self.why}


def translate_migrated_spec(
    job: MigrationSourceJob,
    old: TuneSpec,
    backend: FineTuneBackend,
    model: str | None,
    *,
    rows: int,
    longest: int | None,
) -> tuple[TuneSpec, list[MigratedSetting]]:
    """Return the spec for `backend`, and what became of each setting. `old` is the job's spec file, edited or not.

    `model` is the backend's own id if it is known: it decides what a learning rate multiplies. The spec keeps the old
    model's name until one is chosen.
    """
    target = backend.manifest
    base = TuneSpec(
        model=model or old.model,
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
    kept: dict[str, Any] = {}

    for name, value in old.hyperparameters.given().items():
        line = _number_line(job, name, value, backend, base)
        lines.append(line)
        if line.new is not None:
            kept[name] = value
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
    spec = base.model_copy(update=changes)
    return spec, [_with_rate(line, spec, target, model, rows, longest) for line in lines]


def _number_line(
    job: MigrationSourceJob, name: str, value: Any, backend: FineTuneBackend, base: TuneSpec
) -> MigratedSetting:
    target = backend.manifest
    if name == "batch_size" and target.name != job.backend and _packs(target):
        why = f"{target.name} counts packed sequences, not examples; its own default is taken"
        return MigratedSetting(name, _text(value), None, why)
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


def _with_rate(
    line: MigratedSetting, spec: TuneSpec, target: Manifest, model: str | None, rows: int, longest: int | None
) -> MigratedSetting:
    """Return the line of a multiplier with the resulting rate, if that is known."""
    if line.name != "learning_rate_multiplier" or line.new is None:
        return line
    factor = float(line.new)
    if target.own_machine:
        if model is None:
            return MigratedSetting(
                line.name, line.old, line.new, "times the rate that suits the model, once one is chosen"
            )
        weights = load_models().find(model)
        offered = find_manifest_model(target, model)
        chosen = recommend_hyperparameters(
            spec.hyperparameters,
            rows=max(1, rows),
            params_b=weights.params_b if weights else offered.params_b if offered else None,
            adapter=Adapter.LORA if spec.adapter == "auto" else spec.adapter,
            method=spec.method,
            longest_tokens=longest,
            keeps_best=local_run_keeps_best_epoch(spec),
        )
        rate = float(chosen["learning_rate"].value)
        why = f"{factor:g} x {rate / factor:.3g}, tuneport's rate for the model, adapter and batch"
    elif (default := _default_rate(target)) is not None:
        rate, why = factor * default, f"{factor:g} x {default:g}, {target.name}'s default"
    else:
        return line
    return MigratedSetting(line.name, line.old, f"learning rate {rate:.3g}", why)


def _default_rate(target: Manifest) -> float | None:
    """Return the rate that a multiplier multiplies at a hosted backend that takes rates."""
    return DEFAULT_LEARNING_RATE if target.backend.startswith("tuneport.backends.together") else None


def _packs(target: Manifest) -> bool:
    return target.backend.startswith("tuneport.backends.together")


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
