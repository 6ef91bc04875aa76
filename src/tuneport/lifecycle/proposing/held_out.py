"""Holds rows out of a job's dataset, where no validation file is named."""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import shutil
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from tuneport.data.checks import Finding, Verdict
from tuneport.data.containers.source import find_dataset_held_out_split
from tuneport.data.dataset import Dataset
from tuneport.errors import DatasetError
from tuneport.files import write_atomically
from tuneport.lifecycle.submitting.hold_out import (
    FEWEST_ROWS,
    HELD_OUT_LIST,
    SHARE,
    SPLITS,
    HoldOut,
    JobHoldOut,
    find_held_out_rows,
    held_out_by_default,
)
from tuneport.types import TuneSpec

SEED = 0  # that of `tuneport split`; not the job's, so that jobs with different seeds are judged by the same rows


@dataclass(frozen=True)
class JobData:
    """The spec with the files that it trains on and is validated on; `held_out` says what they are parts of, and
    `whole` is that dataset."""

    spec: TuneSpec
    dataset: Dataset | None
    held_out: JobHoldOut | None = None
    whole: Dataset | None = None


def absolute_dataset_path(path: Path) -> Path:
    """Return the whole path of a dataset; one of the hub stays as it is."""
    from tuneport.data.containers.hub import hub_dataset_name

    return path if hub_dataset_name(path) is not None else path.absolute()


def hold_out_rows(spec: TuneSpec, dataset: Dataset | None, share: HoldOut, *, home: Path) -> JobData:
    """Return the job's data with the share of the rows held out; the same content gives the same files.

    The files are kept in the home, since the job refers to them. Raises what `split` raises; with "auto", a dataset
    that cannot be split stays whole.
    """
    if share is None or spec.validation is not None:
        return JobData(spec, dataset)
    whole = Dataset.of_spec(spec) if dataset is None else dataset
    if share != "auto":
        return _part(spec, whole, share, home)
    if not held_out_by_default(spec):
        return JobData(spec, dataset)
    try:
        return _part(spec, whole, SHARE, home) if _is_enough(whole) else JobData(spec, dataset)
    except DatasetError:  # too few inputs differ; or the rows are bad, which the plan will tell
        return JobData(spec, dataset)


def with_hold_out_finding(
    findings: tuple[Finding, ...], spec: TuneSpec, held_out: JobHoldOut | None
) -> tuple[Finding, ...]:
    """Return the findings of the check with what the job holds out, where it knows only that no file was named."""
    if held_out is not None:
        told = Finding("hold-out", Verdict.PASS, f"{held_out} are held out; none like them is trained on")
    elif spec.validation is None and not spec.method.writes_answers:
        told = Finding("hold-out", Verdict.WARN, "no rows are held out to evaluate the model; --validation 10% does so")
    else:
        return findings
    return tuple(told if each.check == told.check else each for each in findings)


def _is_enough(dataset: Dataset) -> bool:
    if dataset.reading.inline_images:
        return False  # their paths begin in the dataset's folder
    if dataset.format == "text" or find_dataset_held_out_split(dataset.path) is not None:
        return False  # continued pre-training shows in its own loss; and the folder has rows held out already
    return sum(1 for _ in islice(dataset.open().rows(), FEWEST_ROWS)) == FEWEST_ROWS


def _part(spec: TuneSpec, dataset: Dataset, share: float, home: Path) -> JobData:
    held_out = _split(dataset.for_method(spec.method), share, home / SPLITS)
    spec = spec.model_copy(update={"dataset": held_out.train, "validation": held_out.validation})
    return JobData(spec, Dataset.of_spec(spec), held_out, dataset)


def _split(dataset: Dataset, share: float, kept: Path) -> JobHoldOut:
    from tuneport.data.split import split_dataset

    sha256, source = dataset.digest(), absolute_dataset_path(dataset.path)
    key = [sha256, dataset.reading.given(), dataset.given_format, share, SEED]
    folder = kept / hashlib.sha256(json.dumps(key).encode()).hexdigest()[:32]
    if (found := _whole(folder)) is not None:
        return found.model_copy(update={"source": source})
    shutil.rmtree(folder, ignore_errors=True)
    temporary = kept / f".part-{secrets.token_hex(8)}"
    try:
        made = split_dataset(dataset, share, SEED, temporary, for_job=True)
        train = (
            f"{made.train.name.removesuffix('.train.jsonl').removesuffix('.jsonl')}.jsonl"  # shown as the job's data
        )
        os.rename(made.train, temporary / train)
        found = JobHoldOut(
            source=source,
            sha256=sha256,
            share=share,
            seed=SEED,
            train=folder / train,
            validation=folder / made.validation.name,
            train_rows=made.train_rows,
            validation_rows=made.validation_rows,
        )
        write_atomically(temporary / HELD_OUT_LIST, found.model_dump_json())
        try:
            os.replace(temporary, folder)
        except OSError:
            if _whole(folder) is None:  # else another process was faster
                raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return found


def _whole(folder: Path) -> JobHoldOut | None:
    found = find_held_out_rows(folder / HELD_OUT_LIST)
    return found if found and found.train.is_file() and found.validation.is_file() else None
