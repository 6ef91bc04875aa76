"""A dataset that was checked is not checked again, unless something differs."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.folders import FIXTURES
from tuneport.data.checks import check_dataset
from tuneport.data.dataset import Dataset
from tuneport.data.tokens.tokenizer import TokenizerVocabulary
from tuneport.errors import DatasetError
from tuneport.lifecycle.proposing import check_cache
from tuneport.lifecycle.proposing.check_cache import CheckCache
from tuneport.lifecycle.service import JobService
from tuneport.types import Method, TuneSpec

TRAIN = FIXTURES / "datasets" / "support_intents.test.jsonl"
OPENAI = TokenizerVocabulary()


@pytest.fixture
def checked(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The datasets that were checked, in order."""
    paths: list[Path] = []

    def counted(dataset: Dataset, **given: Any) -> Any:
        paths.append(dataset.path)
        return check_dataset(dataset, **given)

    monkeypatch.setattr(check_cache, "check_dataset", counted)
    return paths


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return Path(shutil.copy(TRAIN, tmp_path / "train.jsonl"))


def test_the_second_answer_is_the_first_one(checked: list[Path], data: Path, tmp_path: Path) -> None:
    cache = CheckCache(tmp_path / "checks")
    first = cache.findings(Dataset(data), None, OPENAI, method=Method.SFT)
    assert first == check_dataset(data, method=Method.SFT).findings
    assert cache.findings(Dataset(data), None, OPENAI, method=Method.SFT) == first and len(checked) == 1


def longer(data: Path, tmp_path: Path) -> tuple[Dataset, Dataset | None, TokenizerVocabulary]:
    data.write_text(data.read_text() + data.read_text().splitlines()[0] + "\n")
    return Dataset(data), None, OPENAI


DIFFERENT: dict[str, Callable[[Path, Path], tuple[Dataset, Dataset | None, TokenizerVocabulary]]] = {
    "content": longer,
    "columns": lambda data, folder: (Dataset(data, {"messages": "messages"}), None, OPENAI),
    "format": lambda data, folder: (Dataset(data, format="openai"), None, OPENAI),
    "validation": lambda data, folder: (Dataset(data), Dataset(TRAIN), OPENAI),
    "limit": lambda data, folder: (Dataset(data), None, TokenizerVocabulary(context=10)),
    "name": lambda data, folder: (Dataset(data.rename(folder / "other.jsonl")), None, OPENAI),
}


@pytest.mark.parametrize("what", DIFFERENT)
def test_what_differs_is_checked_again(checked: list[Path], data: Path, tmp_path: Path, what: str) -> None:
    cache = CheckCache(tmp_path / "checks")
    cache.findings(Dataset(data), None, OPENAI, method=Method.SFT)
    dataset, validation, vocabulary = DIFFERENT[what](data, tmp_path)
    found = cache.findings(dataset, validation, vocabulary, method=Method.SFT)
    assert len(checked) == 2
    assert found == check_dataset(dataset, validation=validation, vocabulary=vocabulary, method=Method.SFT).findings


def test_other_code_checks_again_and_so_does_a_broken_entry(
    checked: list[Path], data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = CheckCache(tmp_path / "checks")
    first = cache.findings(Dataset(data), None, OPENAI, method=Method.SFT)
    (entry,) = cache.folder.iterdir()
    for broken in (b"", b"{}", b'[{"check": 1}]', b"[5]"):
        entry.write_bytes(broken)
        assert cache.findings(Dataset(data), None, OPENAI, method=Method.SFT) == first
    before = len(checked)
    monkeypatch.setattr(check_cache, "_code", lambda: [0, 0])
    assert cache.findings(Dataset(data), None, OPENAI, method=Method.SFT) == first and len(checked) == before + 1
    with pytest.raises(DatasetError):
        cache.findings(Dataset(tmp_path / "missing.jsonl"), None, OPENAI, method=Method.SFT)


def test_uncounted_tokens_are_counted_the_next_time(
    checked: list[Path], data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = CheckCache(tmp_path / "checks")
    with monkeypatch.context() as offline:
        offline.setattr(TokenizerVocabulary, "why_unavailable", lambda self: "no network")
        cache.findings(Dataset(data), None, OPENAI, method=Method.SFT)
    assert (
        cache.findings(Dataset(data), None, OPENAI, method=Method.SFT)
        == check_dataset(data, method=Method.SFT).findings
        and len(checked) == 2
    )


def test_a_repeated_submit_does_not_check_again(checked: list[Path], data: Path, workspace: JobService) -> None:
    for _ in range(2):
        workspace.propose(TuneSpec(model="base", dataset=data), backend="fake")
    assert checked == [data]
    kept = workspace.settings.home / "cache" / "checks"
    assert [file.stat().st_mode & 0o077 for file in kept.iterdir()] == [0]
