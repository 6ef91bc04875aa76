"""The command that adds an extra: each is run, by pip, in an environment where it must work."""

from __future__ import annotations

import json
import sys
import sysconfig
from pathlib import Path

import pytest

from tuneport import installation
from tuneport.installation import install_extra, install_package


@pytest.fixture
def pip_on_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(installation.shutil, "which", lambda name: f"{sysconfig.get_path('scripts')}/{name}")


def installed_from(monkeypatch: pytest.MonkeyPatch, **origin: object) -> None:
    monkeypatch.setattr(installation, "_origin", lambda: origin)


def test_a_checkout_names_its_folder_as_short_as_it_can_be_typed(
    pip_on_path: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed_from(monkeypatch, url=tmp_path.as_uri(), dir_info={"editable": True})
    monkeypatch.chdir(tmp_path)
    assert install_extra("serve") == "pip install -e '.[serve]'"
    monkeypatch.chdir(tmp_path.parent)
    assert install_extra("serve") == f"pip install -e './{tmp_path.name}[serve]'"
    monkeypatch.chdir("/")
    installed_from(monkeypatch, url="file:///home/me/it%27s%20mine", dir_info={})
    assert install_extra("serve") == "pip install 'home/me/it'\"'\"'s mine[serve]'"


def test_a_wheel_is_named_while_it_is_there(pip_on_path: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wheel = tmp_path / "tuneport-0.1.0-py3-none-any.whl"
    wheel.touch()
    monkeypatch.chdir(tmp_path)
    installed_from(monkeypatch, url=wheel.as_uri(), archive_info={})
    assert install_extra("local") == "pip install './tuneport-0.1.0-py3-none-any.whl[local]'"
    wheel.unlink()
    assert install_extra("local") == "pip install 'WHEEL[local]'  # WHEEL: the file that was " + wheel.name


@pytest.mark.parametrize(
    ("origin", "command"),
    [
        ({}, "pip install 'tuneport[local]'"),
        (
            {"url": "https://h/t.whl", "archive_info": {}},
            "pip install 'tuneport[local] @ https://h/t.whl'",
        ),
        (
            {"url": "https://h/t.git", "vcs_info": {"vcs": "git", "commit_id": "abc"}},
            "pip install 'tuneport[local] @ git+https://h/t.git@abc'",
        ),
        (
            {"url": "file:///my dir/t", "vcs_info": {"vcs": "git", "commit_id": "abc"}},
            "pip install 'tuneport[local] @ git+file://localhost/my%20dir/t@abc'",
        ),
        (
            {"url": "https://h/t.git", "subdirectory": "a/b", "vcs_info": {"vcs": "git", "commit_id": "abc"}},
            "pip install 'tuneport[local] @ git+https://h/t.git@abc#subdirectory=a/b'",
        ),
    ],
)
def test_an_index_a_url_and_a_repository_are_asked_again(
    pip_on_path: None, monkeypatch: pytest.MonkeyPatch, origin: dict[str, object], command: str
) -> None:
    installed_from(monkeypatch, **origin)
    assert install_extra("local") == command


def test_the_environment_that_runs_it_is_named_where_another_is_on_the_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(installation.shutil, "which", lambda name: f"/somewhere/else/{name}")
    scripts = tmp_path / "venv" / "bin"
    scripts.mkdir(parents=True)
    (scripts / "pip").touch()
    monkeypatch.setattr(installation.sysconfig, "get_path", lambda name: str(scripts))
    monkeypatch.chdir(tmp_path)
    assert install_package("wandb") == "venv/bin/pip install wandb"
    (scripts / "pip").unlink()
    assert install_package("wandb") == f"{sys.executable} -m pip install wandb"
    monkeypatch.setattr(installation, "find_spec", lambda name: None)
    assert install_package("wandb") == f"uv pip install --python {sys.executable} wandb"


def test_the_record_of_this_copy_is_read() -> None:
    from importlib.metadata import distribution

    written = distribution("tuneport").read_text("direct_url.json")
    assert installation._origin() == json.loads(written or "{}")
