"""A job's files as the new backend takes them, and what a submit would refuse about them."""

from __future__ import annotations

from pathlib import Path

from tuneport.data.checks.personal import scan
from tuneport.data.convert import convert
from tuneport.data.prepare import prepare
from tuneport.data.reading import detect
from tuneport.errors import ConversionLossError, DatasetError
from tuneport.jobs.service import Workspace
from tuneport.manifests import Manifest
from tuneport.types import DataFile, Method, TuneSpec
from tuneport.workflows.migration.folder import SavedFolder
from tuneport.workflows.migration.plan import JobPlan, Wishes


def convert_files(
    workspace: Workspace, folder: SavedFolder, plan: JobPlan, spec: TuneSpec, target: Manifest, wishes: Wishes
) -> TuneSpec:
    """Convert the spec's files as a submit would; losses and problems go into `plan`.

    Where something is lost and that is allowed, the spec returned names converted files in the saved folder.
    """
    wanted = "openai-preference" if spec.method is Method.DPO else target.data_format
    plan.source_format = detect(spec.dataset).format
    changes: dict[str, Path] = {}
    for name, what, path in (
        ("dataset", "the training file", spec.dataset),
        ("validation", "the validation file", spec.validation),
    ):
        if path is None:
            continue
        try:
            file = prepare(path, wanted, workspace.worker.files)
        except ConversionLossError as error:
            plan.losses += error.losses
            if not wishes.allow_loss:
                plan.problems.append(f"{what}: {error}")
                continue
            changes[name] = _convert_with_loss(folder, path, wanted)
            file = prepare(changes[name], wanted, workspace.worker.files)
        except DatasetError as error:
            plan.problems.append(f"{what}: {error}")
            continue
        if name == "dataset":
            plan.training = file
        else:
            plan.validation_rows = file.rows
        if target.third_party:
            _look_for_personal_data(plan, what, file, target, wishes)
    return spec.model_copy(update=changes)


def _convert_with_loss(folder: SavedFolder, path: Path, format: str) -> Path:
    """Beside what was saved, so that the job's dataset is the very file that is trained on."""
    target = folder.path / "converted"
    target.mkdir(mode=0o700, exist_ok=True)
    output = target / f"{path.name.partition('.')[0]}.{format}.jsonl"
    convert(path, format, output, allow_loss=True)
    output.chmod(0o600)
    return output


def _look_for_personal_data(plan: JobPlan, what: str, file: DataFile, target: Manifest, wishes: Wishes) -> None:
    found = scan(file.path, file.format)
    if not found.count:
        return
    first = found.matches[0]
    told = f"{what} holds what looks like personal data ({found.count} places; {first.kind} in record {first.line})"
    if wishes.allow_personal_data:
        plan.notes.append(f"{told}, which you allow")
    else:
        plan.problems.append(
            f"{told} and {target.title} is a third party; --allow-personal-data uploads it, `tuneport clean --redact` "
            f"makes a copy without, for --data {plan.job.id}=FILE"
        )
