"""Finds the files of a folder's dataset: data files, a Hugging Face checkout, or what `save_to_disk` wrote."""

from __future__ import annotations

import json
import re
from pathlib import Path

from tuneport.data.containers.bad_row import unreadable_file_error

DATA = (".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".parquet", ".arrow")
TEXTS = (".txt", ".md")
_NOT_DATA = {"dataset_info.json", "dataset_infos.json", "dataset_dict.json", "state.json", "config.json"}
_ABOUT = {"readme", "license", "licence", "copying", "changelog"}
_SPLIT = re.compile(r"(?:^|[-_./])(train|training|test|validation|valid|val|dev|eval)(?=$|[-_.\d/])", re.IGNORECASE)
_ALIASES = {"training": "train", "valid": "validation", "val": "validation", "dev": "validation", "eval": "validation"}


def container_suffix(path: Path) -> str:
    """Return the suffix of the container: `.csv` for `a.csv.gz`."""
    inner = Path(path.stem) if path.suffix.lower() in (".gz", ".zst") else path
    return inner.suffix.lower()


def dataset_stem(path: Path) -> str:
    """Return a dataset's name without the suffixes of its container: `tick` for `tick.csv.gz`."""
    name = path.name.removesuffix(".gz").removesuffix(".zst")
    inner = Path(name)
    return (inner.stem if inner.suffix.lower() in (*DATA, *TEXTS) else name).replace("#", "-") or "data"


def list_data_files(folder: Path, split: str | None = None) -> list[Path]:
    """Return the data files of a folder in the order of their paths; with several splits, those of one.

    Raises DatasetError if there is none, or if there are several splits and none was named: joined, they would leak.
    """
    files, splits = _splits(folder)
    named = sorted(name for name in splits if name)
    if split is not None:
        wanted = split_name(split)
        if wanted == "train" and not named:
            return files  # as `datasets` calls rows without a split
        if wanted not in splits:
            raise unreadable_file_error(
                folder, f"has no split {split!r}", f"use one of: {', '.join(named) or 'none is named'}"
            )
        return splits[wanted]
    if len(named) > 1:
        rule = f"holds the splits {', '.join(named)}"
        raise unreadable_file_error(
            folder, rule, f"name one of them: {folder}#{'train' if 'train' in named else named[0]}"
        )
    return files


def split_name(name: str) -> str:
    """Return the usual name of a split: `validation` for `dev`."""
    return _ALIASES.get(name.lower(), name.lower())


def list_splits(folder: Path) -> set[str]:
    """Return the names of a folder's splits; raises DatasetError if it has no data files."""
    return {name for name in _splits(folder)[1] if name}


def _splits(folder: Path) -> tuple[list[Path], dict[str, list[Path]]]:
    """Return all data files, and those of each split by its usual name; under "" those without a split."""
    try:
        # A text beside data files is about them; in a folder of texts, a README is about the others.
        files = _saved(folder) or _walk(folder, DATA) or _walk(folder, TEXTS)
    except OSError as error:
        raise unreadable_file_error(folder, f"cannot be read: {error.strerror}", "check its permissions") from error
    if not files:
        raise unreadable_file_error(
            folder, "is a folder without data files", f"put {', '.join((*DATA, *TEXTS))} files into it"
        )
    splits: dict[str, list[Path]] = {}
    for file in files:
        found = _SPLIT.findall(file.relative_to(folder).as_posix())
        splits.setdefault(split_name(found[-1]) if found else "", []).append(file)
    return files, splits


def _saved(folder: Path) -> list[Path]:
    """Return the files of a dataset that was saved with `save_to_disk`, as its state lists them."""
    state = folder / "state.json"
    if not state.is_file():
        return []
    try:
        return [folder / str(entry["filename"]) for entry in json.loads(state.read_bytes())["_data_files"]]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise unreadable_file_error(state, "is not the state of a saved dataset", "save the dataset again") from error


def _walk(folder: Path, suffixes: tuple[str, ...]) -> list[Path]:
    found = []
    for path in sorted(folder.rglob("*")):
        inner = path.relative_to(folder)
        if any(part.startswith((".", "_")) for part in inner.parts) or path.name in _NOT_DATA:
            continue
        if inner.stem.lower() in _ABOUT and suffixes is TEXTS:
            continue
        if container_suffix(path) in suffixes and path.is_file():
            found.append(path)
    return found
