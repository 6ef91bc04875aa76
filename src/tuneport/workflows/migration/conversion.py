"""A job's files as the new backend takes them, and what a submit would refuse about them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tuneport.data.checks.personal import scan
from tuneport.data.containers.source import Source
from tuneport.data.convert import convert
from tuneport.data.prepare import file_format, prepare, prepare_for
from tuneport.data.reading import columns_there, detect
from tuneport.errors import ConversionLossError, DatasetError
from tuneport.jobs.service import Workspace
from tuneport.manifests import Manifest
from tuneport.types import DataFile, TuneSpec
from tuneport.workflows.migration.folder import SavedFolder, hash_of
from tuneport.workflows.migration.plan import JobPlan, Wishes

_DIGEST_LENGTH = 16


def convert_files(
    workspace: Workspace, folder: SavedFolder, plan: JobPlan, spec: TuneSpec, target: Manifest, wishes: Wishes
) -> TuneSpec:
    """Convert the spec's files as a submit would; losses and problems go into `plan`.

    Where something is lost and that is allowed, the spec returned names converted files in the saved folder. Those
    have the format's own names, so with a map of columns both files are converted or none.
    """
    plan.source_format = detect(spec.dataset, spec.columns).format
    wanted = file_format(spec.method, plan.source_format, target.data_format, target.also_takes)
    changes: dict[str, Any] = {}
    sources: list[tuple[str, str, Path, Mapping[str, str] | None]] = [
        ("dataset", "the training file", spec.dataset, spec.columns)
    ]
    if spec.validation is not None:
        columns = columns_there(spec.validation, spec.columns)
        sources.append(("validation", "the validation file", spec.validation, columns))
    for name, what, path, columns in sources:
        try:
            file = prepare_for(spec.method, path, wanted, workspace.worker.files, columns)
        except ConversionLossError as error:
            plan.losses += error.losses
            if not wishes.allow_loss:
                plan.problems.append(f"{what}: {error}")
                continue
            changes[name] = _convert_with_loss(folder, path, wanted, columns)
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
    if changes and spec.columns:
        for name, _, path, columns in sources:
            if name not in changes:
                changes[name] = _convert_with_loss(folder, path, wanted, columns)
        changes["columns"] = {}
    return spec.model_copy(update=changes)


def _convert_with_loss(folder: SavedFolder, path: Path, format: str, columns: Mapping[str, str] | None) -> Path:
    """Beside what was saved, so that the job's dataset is the very file that is trained on.

    The name has a digest of the source and its columns: those of two jobs may be called the same.
    """
    target = folder.path / "converted"
    target.mkdir(mode=0o700, exist_ok=True)
    output = target / f"{path.name.partition('.')[0]}-{_digest(path, columns)}.{format}.jsonl"
    convert(path, format, output, columns=columns, allow_loss=True)
    output.chmod(0o600)
    return output


def _digest(path: Path, columns: Mapping[str, str] | None) -> str:
    digest = hashlib.sha256(json.dumps(columns or {}, sort_keys=True).encode())
    for file in Source(path, columns).files:
        digest.update(hash_of(file).encode())
    return digest.hexdigest()[:_DIGEST_LENGTH]


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
