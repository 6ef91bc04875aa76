from __future__ import annotations

from pathlib import Path

import pytest

import tuneport
from tests.support.workspaces import write_chats
from tuneport.deprecation import renamed


@renamed(old="new")
def function(*, new: int = 0) -> int:
    """Return it."""
    return new


def test_an_old_name_works_and_says_the_new_one() -> None:
    with pytest.warns(DeprecationWarning, match=r"function\(old=\.\.\.\) is now function\(new=\.\.\.\)") as told:
        assert function(old=3) == 3  # type: ignore[call-arg]
    assert told[0].filename == __file__  # the caller's line, so that it is found
    assert function(new=4) == 4 and function.__doc__ == "Return it."
    with pytest.raises(TypeError, match="'new' also by its old name 'old'"):
        function(old=3, new=4)  # type: ignore[call-arg]


def test_the_public_functions_take_their_old_names(tmp_path: Path, dataset: Path) -> None:
    with pytest.warns(DeprecationWarning):
        assert tuneport.check(path=dataset).rows == 12  # type: ignore[call-arg]
    with pytest.warns(DeprecationWarning):
        report = tuneport.convert(source=dataset, target_format="chatml", output=tmp_path / "c.jsonl")  # type: ignore[call-arg]
    assert report.target_format == "chatml"
    with pytest.warns(DeprecationWarning):
        made = tuneport.split(dataset, folder=tmp_path / "parts")  # type: ignore[call-arg]
    assert made.train_rows + made.validation_rows == 12
    with pytest.warns(DeprecationWarning):
        table = tuneport.compare(write_chats(tmp_path / "t.jsonl"), models=["gpt-4.1-mini"], backends=["openai"])  # type: ignore[call-arg]
    assert [choice.backend for choice in table.choices] == ["openai"]
