"""What the user configured: whose word counts, what is told about a broken file, and where the store lies."""

from __future__ import annotations

from pathlib import Path

import pytest

from tuneport.errors import ConfigError
from tuneport.lifecycle.store.store import Store
from tuneport.settings import Settings

TOML = """
backend = "together"

[backends.openai]
base_url = "https://toml.example/v1"

[models.support-bot]
openai = "gpt-4.1-mini-2025-04-14"
local = "smollm2-135m-instruct"
"""


def test_environment_over_dotenv_over_toml(isolated: Path) -> None:
    assert Settings.load(isolated, {}).backend is None
    (isolated / "tuneport.toml").write_text(TOML)
    assert Settings.load(isolated, {}).backend == "together"
    (isolated / ".env").write_text("TUNEPORT_BACKEND=openai\nOPENAI_API_KEY=from-file\n")
    assert Settings.load(isolated, {}).backend == "openai"
    settings = Settings.load(isolated, {"TUNEPORT_BACKEND": "local"})
    assert settings.backend == "local"
    key = settings.secret("OPENAI_API_KEY")
    assert key is not None and key.get_secret_value() == "from-file"
    empty = Settings.load(isolated, {"OPENAI_API_KEY": ""})
    assert empty.secret("OPENAI_API_KEY") is None  # set to nothing is not set


def test_alias_tables(isolated: Path) -> None:
    (isolated / "tuneport.toml").write_text(TOML)
    settings = Settings.load(isolated, {})
    assert settings.aliases("support-bot") == {
        "openai": "gpt-4.1-mini-2025-04-14",
        "local": "smollm2-135m-instruct",
    }
    assert settings.aliases("gpt-4.1-mini") is None


def test_the_nearest_toml_upwards(isolated: Path) -> None:
    (isolated / "tuneport.toml").write_text('backend = "local"\n')
    below = isolated / "a" / "b"
    below.mkdir(parents=True)
    assert Settings.load(below, {}).project_path == isolated / "tuneport.toml"
    (isolated / "a" / "tuneport.toml").write_text('backend = "openai"\n')
    assert Settings.load(below, {}).backend == "openai"
    named = isolated / "other.toml"
    named.write_text('backend = "together"\n')
    assert Settings.load(below, {"TUNEPORT_CONFIG": str(named)}).backend == "together"
    with pytest.raises(ConfigError, match="TUNEPORT_CONFIG names .*nowhere.toml, which is not a file"):
        Settings.load(below, {"TUNEPORT_CONFIG": str(isolated / "nowhere.toml")})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"backend = ", "cannot be read"),
        (b'backend = "\xff"', "cannot be read"),
        (b"backends.openai.key = 'sk-secret'", "there is no 'backends.openai.key'"),
        (b"backend = ['sk-secret']", "backend: Input should be a valid string"),
    ],
)
def test_a_broken_toml_is_one_line_with_its_path(isolated: Path, text: bytes, message: str) -> None:
    (isolated / "tuneport.toml").write_bytes(text)
    with pytest.raises(ConfigError) as caught:
        Settings.load(isolated, {})
    told = str(caught.value)
    assert f"{isolated / 'tuneport.toml'}" in told and message in told
    assert "\n" not in told and "sk-secret" not in told


def test_a_dotenv_that_is_not_utf8_is_told(isolated: Path) -> None:
    (isolated / ".env").write_bytes(b"OPENAI_API_KEY=sk-\xff\n")
    with pytest.raises(ConfigError, match=r"\.env cannot be read: .*; correct the file, or save it as UTF-8"):
        Settings.load(isolated, {})


def test_a_home_of_nobody_is_told(isolated: Path) -> None:
    with pytest.raises(ConfigError, match="TUNEPORT_HOME ~no-such-user/x: .*; set it to a folder"):
        Settings.load(isolated, {"TUNEPORT_HOME": "~no-such-user/x"})


def test_base_urls_and_the_variable_that_is_never_read(isolated: Path) -> None:
    (isolated / "tuneport.toml").write_text(TOML)
    environment = {"OPENAI_BASE_URL": "https://wrong.example/v1"}
    assert Settings.load(isolated, environment).base_url("openai", "https://manifest") == "https://toml.example/v1"
    assert Settings.load(isolated, environment).base_url("together", "https://manifest") == "https://manifest"
    environment["TUNEPORT_OPENAI_BASE_URL"] = "https://variable.example/v1"
    assert Settings.load(isolated, environment).base_url("openai", None) == "https://variable.example/v1"
    dashed = {"TUNEPORT_MY_OWN_BASE_URL": "https://own.example"}
    assert Settings.load(isolated, dashed).base_url("my-own", None) == "https://own.example"


def test_keys_are_in_no_repr(isolated: Path) -> None:
    settings = Settings.load(isolated, {"OPENAI_API_KEY": "sk-secret"})
    assert "sk-secret" not in f"{settings!r} {settings} {settings.secret('OPENAI_API_KEY')!r}"
    assert "sk-secret" not in settings.model_dump_json()


@pytest.mark.parametrize("name", ["plain", "what?", "c#", "50%20", "a b", "ä", "u:p@h", "file:x"])
def test_the_store_lies_in_the_home_whatever_its_name(isolated: Path, name: str) -> None:
    settings = Settings.load(isolated, {"TUNEPORT_HOME": str(isolated / name)})
    store = Store(settings.database_url).unscoped()
    assert store.jobs.all() == []
    store.close()
    assert (isolated / name / "tuneport.db").stat().st_size > 0
    assert [path.name for path in isolated.iterdir()] == [name]


def test_another_store_by_its_url(isolated: Path) -> None:
    given = {"TUNEPORT_DATABASE_URL": "postgresql://user@host/db?sslmode=require"}
    assert Settings.load(isolated, given).database_url == given["TUNEPORT_DATABASE_URL"]
