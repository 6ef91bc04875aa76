"""Counts are believed only for the very bytes, vocabulary and limit that they were made of."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tuneport.data.tokens import token_cache
from tuneport.data.tokens.token_cache import TokenCache
from tuneport.data.tokens.tokens import count_dataset_tokens


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    path = tmp_path / "data.jsonl"
    turns = [{"role": "user", "content": "Where is it? " * 40}, {"role": "assistant", "content": "On its way. " * 40}]
    path.write_text(f"{json.dumps({'messages': turns})}\n" * 1200)
    assert path.stat().st_size > token_cache.SMALL_BYTES
    return path


def test_a_count_is_kept_and_not_made_again(dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = TokenCache(tmp_path / "cache")
    first = cache.counts(dataset, "o200k_base")
    assert first == count_dataset_tokens(dataset, "o200k_base")
    made: list[object] = []
    monkeypatch.setattr(token_cache, "count_dataset_tokens", lambda *args, **kwargs: made.append(args) or first)
    assert cache.counts(dataset, "o200k_base") == first and not made
    copy = tmp_path / "another.jsonl"
    copy.write_bytes(dataset.read_bytes())
    assert cache.counts(copy, "o200k_base") == first and not made  # the content counts, not the name
    cache.counts(dataset, "cl100k_base")
    cache.counts(dataset, "o200k_base", context=50)
    with dataset.open("a") as more:
        more.write(dataset.read_text().splitlines()[0] + "\n")
    cache.counts(dataset, "o200k_base")
    assert len(made) == 3


def test_a_broken_entry_is_counted_anew_and_a_read_only_folder_is_no_error(dataset: Path, tmp_path: Path) -> None:
    cache = TokenCache(tmp_path / "cache")
    first = cache.counts(dataset, "o200k_base")
    (entry,) = cache.folder.glob("*.json")
    entry.write_text('{"rows": 1')
    assert cache.counts(dataset, "o200k_base") == first
    (tmp_path / "file").write_text("")
    assert TokenCache(tmp_path / "file").counts(dataset, "o200k_base") == first


def test_examples_longer_than_the_context_are_cut_before_they_are_counted(dataset: Path, tmp_path: Path) -> None:
    whole = TokenCache(tmp_path).counts(dataset, "o200k_base")
    cut = TokenCache(tmp_path).counts(dataset, "o200k_base", context=100)
    assert cut.total == 100 * cut.rows < whole.total and cut.over_context == cut.rows
