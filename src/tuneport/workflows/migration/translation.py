"""What each setting of the old job becomes at the new backend, with the reason, line by line.

Which settings a backend takes is asked of the backend itself (`check`), one by one; what it does not take, or takes
only within other limits, is named and left at `auto`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from tuneport.backends.base import FineTuneBackend
from tuneport.backends.local_request import keeps_best
from tuneport.backends.together_arguments import DEFAULT_LEARNING_RATE
from tuneport.errors import ConfigError, TuneportError, UnsupportedError
from tuneport.estimate.hyperparameters import recommend
from tuneport.manifests import Manifest, load_models
from tuneport.types import Adapter, Hyperparameters, TuneSpec
from tuneport.workflows.migration.origin import FROM_CHECKPOINT, SourceJob

MIGRATED_FROM = "migrated_from"
MIGRATED_FROM_BACKEND = "migrated_from_backend"

Fate = Literal["same", "changed", "dropped"]


@dataclass(frozen=True)
class Line:
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


def translate(
    job: SourceJob, old: TuneSpec, backend: FineTuneBackend, model: str | None, *, rows: int, longest: int | None
) -> tuple[TuneSpec, list[Line]]:
    """The spec for `backend`, and what became of each setting. `old` is the job's spec file, edited or not.

    `model` is the backend's own id where it is known: it decides what a learning rate multiplies. The spec keeps the
    old model's name until one is chosen.
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
    lines = [Line("method", old.method.value, old.method.value)]
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
        lines.append(Line("adapter", adapter.value, None if refused else adapter.value, refused))
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
            lines.append(Line(name, text, None if refused else text, refused))
            if not refused:
                changes[name] = value
    if old.budget is not None:
        lines.append(Line("budget", f"${old.budget:.2f}", f"${old.budget:.2f}"))
        changes["budget"] = old.budget
    if old.columns:
        names = ", ".join(f"{ours}={theirs}" for ours, theirs in old.columns.items())
        lines.append(Line("columns", names, names))
        changes["columns"] = old.columns
    start = old.from_checkpoint or job.other.get(FROM_CHECKPOINT)
    if start is not None:
        lines.append(Line(FROM_CHECKPOINT, str(start), None, "the new job starts from a base model"))
    for name, value in job.other.items():
        if name == FROM_CHECKPOINT:
            continue
        lines.append(Line(name, _text(value), None, f"{job.backend}'s own setting"))
    for name in old.provider_options:
        lines.append(Line(name, _text(old.provider_options[name]), None, f"{job.backend}'s own option"))
    spec = base.model_copy(update=changes)
    return spec, [_with_rate(line, spec, target, model, rows, longest) for line in lines]


def _number_line(job: SourceJob, name: str, value: Any, backend: FineTuneBackend, base: TuneSpec) -> Line:
    target = backend.manifest
    if name == "batch_size" and target.name != job.backend and _packs(target):
        why = f"{target.name} counts packed sequences, not examples; its own default is taken"
        return Line(name, _text(value), None, why)
    try:
        numbers = Hyperparameters.model_validate({name: value})
        refused = _refusal(backend, base.model_copy(update={"hyperparameters": numbers}))
    except ValueError as error:
        refused = str(error)
    if refused:
        if name == "learning_rate":
            refused = f"{target.name} takes a multiplier of a rate that it does not publish; it chooses"
        return Line(name, _text(value), None, refused)
    limits = getattr(target.limits, name, None)
    if limits is not None and not limits.holds(value):
        return Line(name, _text(value), None, f"{target.name} takes {limits}; it chooses")
    row = target.offered(base.model)
    most = None if row is None else {"batch_size": row.batch_size_max, "lora_rank": row.lora_rank_max}.get(name)
    if most is not None and value > most:
        return Line(name, _text(value), None, f"{target.name} takes at most {most} for {base.model}; it chooses")
    why = f"as {job.backend} ran it" if name == "epochs" else ""
    return Line(name, _text(value), _text(value), why)


def _with_rate(line: Line, spec: TuneSpec, target: Manifest, model: str | None, rows: int, longest: int | None) -> Line:
    """For a multiplier, the rate that comes of it where it is known."""
    if line.name != "learning_rate_multiplier" or line.new is None:
        return line
    factor = float(line.new)
    own_machine = target.billing is not None and target.billing.unit == "machine_hours"
    if own_machine:
        if model is None:
            return Line(line.name, line.old, line.new, "times the rate that suits the model, once one is chosen")
        weights = load_models().find(model)
        offered = target.offered(model)
        chosen = recommend(
            spec.hyperparameters,
            rows=max(1, rows),
            params_b=weights.params_b if weights else offered.params_b if offered else None,
            adapter=Adapter.LORA if spec.adapter == "auto" else spec.adapter,
            method=spec.method,
            longest_tokens=longest,
            keeps_best=keeps_best(spec),
        )
        rate = float(chosen["learning_rate"].value)
        why = f"{factor:g} x {rate / factor:.3g}, tuneport's rate for the model, adapter and batch"
    elif (default := _default_rate(target)) is not None:
        rate, why = factor * default, f"{factor:g} x {default:g}, {target.name}'s default"
    else:
        return line
    return Line(line.name, line.old, f"learning rate {rate:.3g}", why)


def _default_rate(target: Manifest) -> float | None:
    """What a multiplier multiplies at a hosted backend that takes rates."""
    return DEFAULT_LEARNING_RATE if target.backend.startswith("tuneport.backends.together:") else None


def _packs(target: Manifest) -> bool:
    return target.backend.startswith("tuneport.backends.together:")


def _suffix_line(suffix: str, target: Manifest) -> Line:
    most = target.limits.suffix_max
    if most is None or len(suffix) <= most.value:
        return Line("suffix", suffix, suffix)
    return Line("suffix", suffix, suffix[: most.value], f"{target.name} takes {most.value} characters")


def _metadata(old: TuneSpec, job: SourceJob, target: Manifest) -> dict[str, str]:
    """The job's own pairs, then where it comes from. What is over the target's limit gives way, ours do not."""
    ours = {MIGRATED_FROM: job.id, MIGRATED_FROM_BACKEND: job.backend}
    most = target.limits.metadata_pairs
    theirs = {name: value for name, value in old.metadata.items() if name not in ours}
    if most is not None:
        theirs = dict(list(theirs.items())[: most.value - len(ours) - 1])  # one is tuneport's token
    return theirs | ours


def _refusal(backend: FineTuneBackend, spec: TuneSpec) -> str:
    """Why the backend does not take the spec, in a few words; empty where it does."""
    try:
        backend.check(spec)
    except (UnsupportedError, ConfigError) as error:
        return _shortened(str(error), backend.name)
    except TuneportError as error:
        return str(error)
    return ""


def _shortened(message: str, name: str) -> str:
    """The error says the backend's name, and what to do about it, which is done here."""
    first = message.partition(";")[0].partition(" (it takes")[0].removeprefix("the backend ")
    return first if first.startswith(name) else f"{name}: {first}"


def _text(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
