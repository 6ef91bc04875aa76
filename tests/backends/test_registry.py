"""Opening a backend by name: what it needs, what it must not need, and what is said where something is missing."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import subprocess
import sys
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from tuneport import backends, manifests
from tuneport.backends import backend_manifest, backend_names, open_backend
from tuneport.backends.hosted.backend import HostedBackend
from tuneport.errors import ConfigError
from tuneport.installation import install_extra
from tuneport.lifecycle.planning.planning import find_job_backend_readiness
from tuneport.manifests import find_manifest_model, load_manifest, manifest_names
from tuneport.settings import BackendSettings, ProjectFile, Settings
from tuneport.workflows import doctor


def test_all_listed_backends_open_without_a_key(settings: Settings) -> None:
    assert {"azure", "openai", "together", "local"} <= set(backend_names(settings))
    with pytest.raises(ConfigError, match=r"set TUNEPORT_AZURE_BASE_URL.*RESOURCE.openai.azure.com"):
        open_backend("azure", settings)  # each user has an own address there
    address = {"TUNEPORT_AZURE_BASE_URL": SecretStr("http://127.0.0.1:9/openai/v1")}
    settings = settings.model_copy(update={"environment": settings.environment | address})
    for name in backend_names(settings):
        backend = open_backend(name, settings)
        assert backend.name == name
        backend.close()


def test_fake_is_opened_by_name_and_never_listed(settings: Settings) -> None:
    assert open_backend("fake", settings).name == "fake"
    assert "fake" not in backend_names(settings)


def test_unknown_name_is_told_with_the_known_ones(settings: Settings) -> None:
    with pytest.raises(ConfigError, match="'nowhere'.*openai.*together"):
        open_backend("nowhere", settings)


@pytest.mark.parametrize(("name", "package"), [("openai", "openai"), ("together", "together"), ("local", "trl")])
def test_missing_extra_is_told_with_the_command(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, name: str, package: str
) -> None:
    def find_spec(wanted: str) -> Any:
        return None if wanted == package else importlib.util.find_spec(wanted)

    monkeypatch.setattr(backends, "find_spec", find_spec)
    with pytest.raises(ConfigError) as caught:
        open_backend(name, settings)
    assert str(caught.value) == f"backend {name} needs the {package} package: {install_extra(name)}"
    assert isinstance(caught.value.__cause__, ModuleNotFoundError)


def test_extras_are_those_of_the_package() -> None:
    declared = importlib.metadata.metadata("tuneport").get_all("Provides-Extra") or []
    named = {manifest.extra for manifest in map(load_manifest, manifest_names()) if manifest.packages}
    assert named <= set(declared)


def test_fault_in_a_backend_of_another_package_is_not_called_a_missing_extra(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "broken_backend.py").write_text("import no_such_module_at_all\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    manifest = load_manifest("fake").model_copy(update={"name": "broken", "backend": "broken_backend:Backend"})
    monkeypatch.setattr(backends, "load_manifest", lambda name: manifest)
    with pytest.raises(ModuleNotFoundError, match="no_such_module_at_all"):
        open_backend("broken", settings)


def test_backend_of_another_package_is_opened_by_its_entry_point(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "elsewhere.py").write_text(
        "from tuneport.testing.fake.backend import FakeBackend\n"
        "from tuneport.manifests import load_manifest\n"
        "class Elsewhere(FakeBackend): pass\n"
        "changes = {'name': 'elsewhere', 'backend': 'elsewhere:Elsewhere', 'hidden': False}\n"
        "manifest = load_manifest('fake').model_copy(update=changes)\n"
    )
    folder = tmp_path / "elsewhere-1.0.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: elsewhere\nVersion: 1.0\n")
    (folder / "entry_points.txt").write_text("[tuneport.backends]\nelsewhere = elsewhere:manifest\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    manifests.load_manifest.cache_clear()
    assert "elsewhere" in backend_names(settings)
    backend = open_backend("elsewhere", settings)
    assert (type(backend).__name__, backend.name) == ("Elsewhere", "elsewhere")


def test_misspelt_option_is_told_with_its_place(settings: Settings) -> None:
    project = ProjectFile(backends={"openai": BackendSettings(options={"time_out": 3})})
    with pytest.raises(ConfigError, match=r"backends\.openai\.options\.time_out"):
        open_backend("openai", settings.model_copy(update={"project": project}))


def test_opening_imports_no_sdk() -> None:
    code = (
        "import sys; from tuneport.backends import open_backend; from tuneport.settings import Settings\n"
        "for name in ('openai', 'together'): open_backend(name, Settings.load())\n"
        "print(sorted({'openai', 'together', 'torch', 'httpx2', 'litellm'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def project_with(**tables: dict[str, Any]) -> ProjectFile:
    return ProjectFile.model_validate({"backends": tables})


def test_a_project_defines_a_backend_that_speaks_like_another(settings: Settings) -> None:
    table = {"like": "openai", "base_url": "http://127.0.0.1:8321/v1", "api_key_env": "OURS_KEY"}
    ours = settings.model_copy(update={"project": project_with(ours=table)})
    assert "ours" in backend_names(ours) and "ours" not in backend_names(settings)
    manifest = backend_manifest("ours", ours)
    assert (manifest.api_key_env, manifest.base_url) == ("OURS_KEY", "http://127.0.0.1:8321/v1")
    assert find_manifest_model(manifest, "anything-at-all") is not None
    assert manifest.no_new_jobs_from is None and manifest.models == ()  # OpenAI's facts are not the other server's
    assert type(open_backend("ours", ours)).__name__ == "OpenAIBackend"


@pytest.mark.parametrize(
    ("tables", "name", "message"),
    [
        ({"ours": {"base_url": "http://127.0.0.1:1"}}, "ours", r"backends\.ours needs like"),
        ({"openai": {"like": "together"}}, "openai", r"backends\.openai\.like: openai exists already"),
        ({"ours": {"like": "nowhere"}}, "ours", "'nowhere'"),
        ({"ours": {"like": "openai"}}, "ours", "base_url"),
        ({"ours": {"like": "openai", "api_key_env": "OURS_KEY"}}, "ours", "base_url"),
        ({"ours": {"like": "openai", "base_url": "http://127.0.0.1:1"}}, "ours", r"backends\.ours needs .*api_key_env"),
    ],
)
def test_a_wrong_table_is_told(settings: Settings, tables: dict[str, Any], name: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        open_backend(name, settings.model_copy(update={"project": project_with(**tables)}))


def test_key_and_address_of_the_table_hold_everywhere(settings: Settings) -> None:
    """The backend, the plan and the doctor ask for one and the same variable."""
    table = {"base_url": "https://me:hunter2@127.0.0.1:1/v1", "api_key_env": "SECOND_KEY"}
    environment = {"SECOND_KEY": SecretStr("sk-second-0123456789")}
    mine = settings.model_copy(update={"project": project_with(openai=table), "environment": environment})
    manifest = backend_manifest("openai", mine)
    assert (manifest.api_key_env, manifest.base_url) == ("SECOND_KEY", "https://127.0.0.1:1/v1")
    assert mine.base_url("openai", manifest.base_url) == table["base_url"]
    assert manifest.models == load_manifest("openai").models and load_manifest("openai").api_key_env == "OPENAI_API_KEY"
    assert find_job_backend_readiness(mine, [manifest]).with_key == {"openai"}
    row = next(row for row in doctor.list_backend_states(mine, date(2026, 11, 24)) if row["name"] == "openai")
    assert (row["api_key_env"], row["key_set"], row["base_url"]) == ("SECOND_KEY", True, "https://***@127.0.0.1:1/v1")
    backend = open_backend("openai", mine)
    assert isinstance(backend, HostedBackend)
    assert (backend.upstream.api_key_env, backend.upstream.require_api_key()) == ("SECOND_KEY", "sk-second-0123456789")


def test_password_of_another_servers_address_is_in_no_fact(settings: Settings) -> None:
    table = {"like": "openai", "base_url": "https://me:hunter2@127.0.0.1:1/v1", "api_key_env": "OURS_KEY"}
    manifest = backend_manifest("ours", settings.model_copy(update={"project": project_with(ours=table)}))
    assert "hunter2" not in str(manifest.sources)
