"""A job's files as the new backend takes them, and what a submit would refuse about them."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from tuneport.data.checks.rows.personal import scan_personal_data
from tuneport.data.conversion.convert import convert
from tuneport.data.conversion.prepare import convert_dataset_for_method, dataset_upload_format, prepare_dataset
from tuneport.data.dataset import Dataset
from tuneport.data.rows.reading_options import ReadingOptions
from tuneport.digests import sha256_of
from tuneport.errors import ConversionLossError, DatasetError
from tuneport.lifecycle.service import JobService
from tuneport.manifests import Manifest
from tuneport.types import DataFile, TuneSpec
from tuneport.workflows.migration.folder import SavedAccountFolder
from tuneport.workflows.migration.plan import MigrationChoices, MigrationMovePlan

_DIGEST_LENGTH = 16


def convert_migration_files(
    workspace: JobService,
    folder: SavedAccountFolder,
    plan: MigrationMovePlan,
    spec: TuneSpec,
    dataset: Dataset,
    target: Manifest,
    choices: MigrationChoices,
) -> TuneSpec:
    """Convert the spec's files as a submit would; losses and problems go into `plan`.

    If something is lost and that is allowed, the returned spec names converted files in the saved folder. Those have
    the format's own names, so with options of reading both files are converted or none.
    """
    plan.source_format = dataset.format
    wanted = dataset_upload_format(spec.method, plan.source_format, target.data_format, target.also_takes)
    changes: dict[str, Any] = {}
    sources = [("dataset", "the training file", dataset)]
    if spec.validation is not None:
        sources.append(("validation", "the validation file", dataset.validation_like(spec.validation)))
    for name, what, source in sources:
        try:
            file = convert_dataset_for_method(spec.method, source, wanted, workspace.worker.files)
        except ConversionLossError as error:
            plan.losses += error.losses
            if not choices.allow_loss:
                plan.problems.append(f"{what}: {ConversionLossError(error.target, error.losses)}")
                continue
            changes[name] = _convert_with_loss(folder, source, wanted)
            file = prepare_dataset(changes[name], wanted, workspace.worker.files)
        except DatasetError as error:
            plan.problems.append(f"{what}: {error}")
            continue
        if name == "dataset":
            plan.training = file
        else:
            plan.validation_rows = file.rows
        if target.third_party:
            _look_for_personal_data(plan, what, file, target, choices)
    if changes and ReadingOptions.of_spec(spec).given():
        for name, _, source in sources:
            if name not in changes:
                changes[name] = _convert_with_loss(folder, source, wanted)
        changes |= vars(ReadingOptions())  # converted files have the format's own names, and all that was added
    return spec.model_copy(update=changes)


def _convert_with_loss(folder: SavedAccountFolder, dataset: Dataset, format: str) -> Path:
    """Write the converted file beside what was saved, so that the job's dataset is the very file that is trained on.

    The name has a digest of the source and how it is read: the files of two jobs may have the same name.
    """
    target = folder.path / "converted"
    target.mkdir(mode=0o700, exist_ok=True)
    output = target / f"{dataset.path.name.partition('.')[0]}-{_digest(dataset)}.{format}.jsonl"
    convert(dataset, format, output, allow_loss=True)
    output.chmod(0o600)
    return output


def _digest(dataset: Dataset) -> str:
    digest = hashlib.sha256(json.dumps(dataset.reading.given(), sort_keys=True).encode())
    for file in dataset.files:
        digest.update(sha256_of(file).encode())
    return digest.hexdigest()[:_DIGEST_LENGTH]


def _look_for_personal_data(
    plan: MigrationMovePlan, what: str, file: DataFile, target: Manifest, choices: MigrationChoices
) -> None:
    found = scan_personal_data(file.path, file.format)
    if not found.count:
        return
    first = found.matches[0]
    told = f"{what} holds what looks like personal data ({found.count} places; {first.kind} in record {first.line})"
    if choices.allow_personal_data:
        plan.notes.append(f"{told}, which you allow")
    else:
        plan.problems.append(
            f"{told} and {target.title} is a third party; add --allow-personal-data to upload it, or make a redacted "
            f"copy with `tuneport clean --redact` and give it as --data {plan.job.id}=FILE"
        )
