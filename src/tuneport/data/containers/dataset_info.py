"""LLaMA-Factory's `dataset_info.json`: datasets by name, with their files and what their columns are called."""

from __future__ import annotations

import json
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any, NamedTuple

from tuneport.data.containers.bad_row import reading_file, unreadable_file_error
from tuneport.data.containers.hub import hub_dataset_name

FILE = "dataset_info.json"
_PLACES = {"file_name", "hf_hub_url", "ms_hub_url", "om_hub_url", "script_url", "cloud_file_name"}
_NOT_READ = {
    "subset": "one of several configurations",
    "folder": "a folder of the hub's repository",
    "num_samples": "a sample of the rows",
}
_ALPACA = {"prompt": "instruction", "query": "input", "response": "output", "history": "history"}
_OTHERS = ("system", "tools", "images", "videos", "audios", "chosen", "rejected", "kto_tag")
_TAGS: Mapping[str, frozenset[str]] = {
    "user_tag": frozenset(("human", "user")),
    "assistant_tag": frozenset(("gpt", "assistant")),
    "observation_tag": frozenset(("observation", "tool")),
    "function_tag": frozenset(("function_call",)),
    "system_tag": frozenset(("system",)),
}
_KEYS = {("from", "value"): "conversations", ("role", "content"): "messages"}
_NAMES_SHOWN = 20


class DatasetInfoEntry(NamedTuple):
    """`columns`: the columns by the names that the format expects, as `--map` gives them."""

    path: Path
    columns: dict[str, str]


def find_dataset_info_entry(path: Path) -> DatasetInfoEntry | None:
    """Return the dataset that `dataset_info.json#NAME` or `FOLDER#NAME` names, or None for any other path.

    Raises DatasetError for a name that is not there (the file itself names none), and for an entry that asks for what
    is not read here: it would be trained on something else.
    """
    stem, _, name = path.name.partition("#")
    at = path.parent / stem
    try:
        if hub_dataset_name(path) is not None or (path.name != FILE and ("#" not in path.name or path.exists())):
            return None
        info = at / FILE if at.is_dir() else at
        entries = _read(info) if info.name == FILE and info.is_file() else None
    except (OSError, ValueError):
        return None  # a path that cannot be: its reader says so
    if entries is None or (info != at and name not in entries):
        return None  # of Hugging Face; or the name of a split
    if name not in entries:
        rule = f"has no dataset {name!r}" if name else f"names {len(entries):,} datasets"
        raise unreadable_file_error(info, rule, f"name one: {at}#{_some_name(name, entries)}")
    return _entry(info, name, entries[name])


def _read(info: Path) -> dict[str, dict[str, Any]] | None:
    """Return the entries, or None if the file is none of LLaMA-Factory's: `datasets` has one of the same name."""
    with reading_file(info):
        try:
            entries = json.loads(info.read_bytes())
        except (ValueError, RecursionError):
            return None
    if not isinstance(entries, dict) or not all(isinstance(entry, dict) for entry in entries.values()):
        return None
    return entries if any(entry.keys() & _PLACES for entry in entries.values()) else None


def _some_name(name: str, entries: Mapping[str, Any]) -> str:
    names = [*get_close_matches(name, entries), *entries]
    shown = list(dict.fromkeys(names))[:_NAMES_SHOWN]
    more = len(entries) - len(shown)
    return ", ".join(shown) + (f" and {more:,} more" if more else "")


def _entry(info: Path, name: str, entry: Mapping[str, Any]) -> DatasetInfoEntry:
    if asked := next((key for key in _NOT_READ if entry.get(key) is not None), None):
        rule = f"asks for {_NOT_READ[asked]} in {name!r} ({asked}: {entry[asked]}), which is not done here"
        raise unreadable_file_error(info, rule, "name the file itself, with --map for its columns")
    columns = entry.get("columns", {})
    if not isinstance(columns, dict) or not all(isinstance(each, str) for each in columns.values() if each is not None):
        raise unreadable_file_error(info, f"has columns of {name!r} that are no names", "correct the file")
    columns = {key: column for key, column in columns.items() if column is not None}
    talks = entry.get("formatting") in ("sharegpt", "openai")
    made = _conversation(info, name, entry, columns) if talks else _alpaca(columns)
    made |= {key: columns[key] for key in _OTHERS if key in columns}
    renamed = {expected: column for expected, column in made.items() if expected != column}
    return DatasetInfoEntry(_place(info, name, entry), renamed)


def _alpaca(columns: Mapping[str, str]) -> dict[str, str]:
    if set(columns) == {"prompt"}:
        return {"text": columns["prompt"]}  # for continued pre-training
    return {expected: columns[key] for key, expected in _ALPACA.items() if key in columns}


def _conversation(info: Path, name: str, entry: Mapping[str, Any], columns: Mapping[str, str]) -> dict[str, str]:
    tags = entry.get("tags") or {}
    usual = ("role", "content") if entry["formatting"] == "openai" else ("from", "value")
    keys = (tags.get("role_tag", usual[0]), tags.get("content_tag", usual[1]))
    other = {key: tags[key] for key, known in _TAGS.items() if tags.get(key) is not None and tags[key] not in known}
    if keys not in _KEYS or other:
        asked = {"role_tag": keys[0], "content_tag": keys[1], **other}
        told = ", ".join(f"{key}: {value}" for key, value in asked.items())
        raise unreadable_file_error(
            info, f"has tags of {name!r} that are not known ({told})", "rename them in the data to role and content"
        )
    return {_KEYS[keys]: columns.get("messages", "conversations")}


def _place(info: Path, name: str, entry: Mapping[str, Any]) -> Path:
    file, hub = entry.get("file_name"), entry.get("hf_hub_url")
    if isinstance(file, str):
        path = info.parent / file
        if not path.resolve().is_relative_to(info.parent.resolve()):
            raise unreadable_file_error(
                info, f"leads out of its folder in {name!r} ({file})", "name that file itself, if it is yours"
            )
        if path.exists() or not isinstance(hub, str):
            return path
    if isinstance(hub, str):
        return Path(f"hf://{hub}#{entry.get('split') or 'train'}")
    where = ", ".join(f"{key}: {entry[key]}" for key in sorted(_PLACES & entry.keys())) or "no file_name"
    raise unreadable_file_error(
        info, f"names no file and no dataset of the hub for {name!r} ({where})", "download it, and name the file itself"
    )
