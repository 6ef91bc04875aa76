"""Findings of the checks, kept by the dataset's content: checking long rows takes seconds, hashing them hardly any."""

from __future__ import annotations

import contextlib
import hashlib
import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from tuneport import data, private
from tuneport.data.checks import Finding, Verdict, check_dataset
from tuneport.data.checks.finding import CheckEvidence
from tuneport.data.containers.source import find_dataset_held_out_split
from tuneport.data.dataset import Dataset
from tuneport.data.tokens.tokenizer import TokenizerVocabulary
from tuneport.files import write_atomically
from tuneport.types import Method
from tuneport.version import __version__


@dataclass(frozen=True)
class CheckCache:
    """`folder` holds a small file for each dataset that was checked; deleting any is safe."""

    folder: Path

    def findings(
        self, dataset: Dataset, validation: Dataset | None, vocabulary: TokenizerVocabulary, *, method: Method
    ) -> tuple[Finding, ...]:
        """Return what `check_dataset` finds, checked again only if the content, how it is read, or tuneport differs. An
        unreadable entry is checked again; a folder that cannot be written to only costs the time."""
        entry = self.folder / f"{_key(dataset, validation, vocabulary, method)}.json"
        try:
            return _read(json.loads(entry.read_bytes()))
        except (OSError, ValueError, TypeError, KeyError):
            report = check_dataset(dataset, validation=validation, vocabulary=vocabulary, method=method)
        if report.tokens is not None:  # else the vocabulary may be at hand the next time
            with contextlib.suppress(OSError):
                private.make_private_folder(self.folder)
                found = [vars(each) | {"evidence": [vars(one) for one in each.evidence]} for each in report.findings]
                write_atomically(entry, json.dumps(found), durable=False)
        return report.findings


def _key(dataset: Dataset, validation: Dataset | None, vocabulary: TokenizerVocabulary, method: Method) -> str:
    beside = find_dataset_held_out_split(dataset.path) if validation is None else None
    if beside is not None:
        validation = Dataset(beside)  # the check compares it
    read = [dataset] if validation is None else [dataset, validation]
    files = [
        [str(each.path), each.digest(), each.reading.given(), each.given_format] for each in read
    ]  # findings name the file, too
    counted = [vocabulary.name, str(vocabulary.folder), vocabulary.context]
    return hashlib.sha256(json.dumps([__version__, _code(), files, counted, method]).encode()).hexdigest()


@cache
def _code() -> list[int]:
    """Return what changes with the code of the checks, which a checkout changes within one version."""
    states = [file.stat() for file in Path(data.__path__[0]).rglob("*.py")]
    return [sum(state.st_size for state in states), max(state.st_mtime_ns for state in states)]


def _read(kept: Any) -> tuple[Finding, ...]:
    if not isinstance(kept, list) or not kept:
        raise ValueError("no findings")
    return tuple(
        Finding(
            **each
            | {
                "verdict": Verdict(each["verdict"]),
                "evidence": tuple(CheckEvidence(tuple(one["lines"]), one["text"]) for one in each["evidence"]),
            }
        )
        for each in kept
    )
