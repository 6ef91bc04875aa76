"""What users can name stays: commands, options, endpoints, exported names, keywords and keys of an earlier commit.

`support/surface_at_15ff788.txt` is what `support/surface.py` prints with the source of 15ff788:
`git worktree add --detach OLD 15ff788; PYTHONPATH=OLD/src python tests/support/surface.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

import tuneport
from tests.support import surface
from tests.support.counted import COUNTED

BEFORE = Path(surface.__file__).with_name("surface_at_15ff788.txt")
RENAMED = "the old keyword works for one release, with a DeprecationWarning"
GONE = {
    "keyword advise said": "its keywords have their own names now",
    "keyword check path": RENAMED,
    "keyword clean path": RENAMED,
    "keyword compare backends": RENAMED,
    "keyword compare models": RENAMED,
    "keyword compare own_tokens_per_second": RENAMED,
    "keyword compare own_usd_per_hour": RENAMED,
    "keyword convert source": RENAMED,
    "keyword convert source_format": RENAMED,
    "keyword convert target_format": RENAMED,
    "keyword plan gpus": RENAMED,
    "keyword split folder": RENAMED,
    "keyword split path": RENAMED,
    "manifest auto_epochs": "epochs of [training] own_settings; the old key works for one release, with a warning",
    "member FineTuneBackend.settle_seconds": "a fact of the manifest now, as are a provider's others",
} | {
    f"schema Actual {key}": "the schema is called JobActual; the keys are the same in every answer"
    for key in (
        "authority", "interrupted", "seconds", "seconds_because", "seconds_unavailable", "share_done", "tokens", "usd",
        "usd_because", "usd_unavailable",
    )
}  # fmt: skip
"""What is there no more, and why."""


@pytest.fixture(scope="module")
def now(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TUNEPORT_HOME", str(tmp_path_factory.mktemp("home")))
        return set(surface.surface_lines())


def test_nothing_that_users_name_is_gone(now: set[str], record_property: Callable[[str, object], None]) -> None:
    before = set(BEFORE.read_text(encoding="utf-8").splitlines())
    record_property(COUNTED, f"{len(before)} names at 15ff788, {len(now)} now, {len(before - now)} gone")
    assert sorted(before - now - GONE.keys()) == []
    assert sorted(GONE.keys() & now) == [], "is there again: take it off the list"


def test_the_list_has_all_kinds(now: set[str]) -> None:
    assert {
        "command tuneport submit",
        "option tuneport submit --spec",
        "argument tuneport check DATA",
        "option tuneport token create --scope",
        "endpoint POST /v1/fine_tuning/jobs",
        "parameter GET /v1/fine_tuning/jobs query limit",
        "schema JobActual usd",
        "export submit",
        "keyword compare own_gpu",
        "member Job.wait",
        "manifest models.inference.usd_per_mtok_input",
        "setting project.backends.api_key_env",
    } <= now


@pytest.mark.parametrize("line", sorted(line for line, why in GONE.items() if why == RENAMED))
def test_a_renamed_keyword_is_still_taken(line: str) -> None:
    _, function, keyword = line.split()
    with pytest.warns(DeprecationWarning, match=rf"{function}\({keyword}=...\) is now"), pytest.raises(Exception):  # noqa: B017, PT011  # at the value
        getattr(tuneport, function)(**{keyword: object()})
