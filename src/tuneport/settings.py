"""The user's configuration: environment first, then `.env`, then `tuneport.toml`, then defaults.

Keys are read here and nowhere else, one by one, by the name of the environment variable that a manifest gives; they
are `SecretStr` from the start and never stored.

pydantic-settings is not used: it reads the variables that a class declares, and here manifests name them, those of
other packages, too; and an error has to name the variable, or the line of the file, that is wrong.
"""

from __future__ import annotations

import math
import os
import re
from functools import cache
from pathlib import Path
from typing import Any, Literal, NoReturn
from urllib.parse import urlsplit

from dotenv import dotenv_values
from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator

from tuneport.errors import ConfigError
from tuneport.validation import validate_toml_file


class _Configured(BaseModel):
    """A model that may hold keys and passwords: no error repeats what was written, and no pickle carries it
    elsewhere."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    def __reduce__(self) -> NoReturn:
        raise TypeError("settings hold keys and cannot be pickled; call Settings.load() in the other process")


class BackendSettings(_Configured):
    """One `[backends.NAME]` table of `tuneport.toml`.

    `like` makes a new backend of that name, which speaks the wire format of the backend that it names. Its `models` are
    rows as in `providers/*.toml`, prices optional; without them it takes any model name. `orders`: the body that its
    server wants with a cancel, a pause and a resume.
    """

    like: str | None = None
    base_url: str | None = Field(default=None, repr=False, exclude=True)  # which may hold a password
    api_key_env: str | None = None
    orders: Literal["no_body", "empty_object"] | None = None
    delete_files: bool | None = None
    models: tuple[dict[str, Any], ...] = ()
    options: dict[str, Any] = Field(default_factory=dict, repr=False)

    @field_validator("api_key_env")
    @classmethod
    def _names_a_variable(cls, value: str | None) -> str | None:
        if value is not None and not re.fullmatch(r"[A-Z_][A-Z0-9_]*", value):
            raise ValueError("must be the name of a variable in capitals, such as OURS_API_KEY, not the key itself")
        return value


class WebhookSettings(_Configured):
    """One `[webhooks.NAME]` table of `tuneport.toml`: who is told of the ends of jobs.

    `secret_env` names the variable with the `whsec_...` secret. `events` of those that there are; all, if none is
    named. `allow_private`: the address may be one of this machine or its network, and plain http.
    """

    url: str = Field(repr=False, exclude=True)  # which may hold a password
    secret_env: str
    events: tuple[Literal["succeeded", "failed", "cancelled"], ...] = ()
    allow_private: bool = False

    @field_validator("secret_env")
    @classmethod
    def _names_a_variable(cls, value: str) -> str:
        if not re.fullmatch(r"[A-Z_][A-Z0-9_]*", value):
            raise ValueError("must be the name of a variable in capitals, such as OURS_WEBHOOK_SECRET, not the secret")
        return value


class GatewaySettings(_Configured):
    """`[gateway]` of `tuneport.toml`: how much one client may ask of `tuneport serve` in a minute.

    The limits count for each token. If no token is needed, they count for each address, and only those that are set
    here. `failures_per_minute`: how many wrong tokens an address may try.

    `endpoint_usd_per_hour`: a tuned model that answers only from an endpoint gets one when it is first asked, if that
    costs no more than this; it stops when it is idle. Without it, only `tuneport deploy` starts endpoints.

    `job_budget`: US dollars that one job of a client may cost; one that may cost more, or whose price is unknown, is
    refused.

    `client_options`: what clients may set beyond the numbers of training, by name: an option that is the operator's
    (`allow_oversize`, `slurm.partition`), `wandb`, `python_graders`, `hub_models`, `request.NAME`, `chat.NAME`.
    """

    requests_per_minute: int | None = Field(default=None, ge=1)
    jobs_per_minute: int | None = Field(default=None, ge=1)
    failures_per_minute: int = Field(default=20, ge=1)
    endpoint_usd_per_hour: float | None = Field(default=None, gt=0)
    job_budget: float | None = Field(default=None, gt=0)
    client_options: tuple[str, ...] = ()


class BudgetSettings(_Configured):
    """`[budgets]` of `tuneport.toml`, in US dollars. `job`: what one job may cost without a question."""

    job: float | None = Field(default=None, ge=0)


class ProjectFile(_Configured):
    """`tuneport.toml`: the default backend, backend tables, and model aliases (`[models.ALIAS] backend = "id"`).

    `delete_files`: what was uploaded is deleted at the provider when its job has ended. A backend's table goes before
    the file's.
    """

    backend: str | None = None
    delete_files: bool = False
    budgets: BudgetSettings = BudgetSettings()
    gateway: GatewaySettings = GatewaySettings()
    backends: dict[str, BackendSettings] = Field(default_factory=dict)
    models: dict[str, dict[str, str]] = Field(default_factory=dict)
    webhooks: dict[str, WebhookSettings] = Field(default_factory=dict)


class Settings(_Configured):
    """Read once with `Settings.load()`; tests build their own.

    `home` holds the store, prepared files, base models and local runs; nothing else on the machine is written.
    """

    home: Path
    project: ProjectFile = ProjectFile()
    project_path: Path | None = None
    environment: dict[str, SecretStr] = Field(default_factory=dict, repr=False)

    @classmethod
    def load(cls, directory: Path | None = None, environment: dict[str, str] | None = None) -> Settings:
        """Read the environment, `directory/.env` and the nearest `tuneport.toml` upwards of `directory`."""
        directory = (directory or Path.cwd()).absolute()
        merged = _read_dotenv(directory / ".env") | dict(os.environ if environment is None else environment)
        path = _project_file(directory, merged.get("TUNEPORT_CONFIG"))
        return cls(
            home=_home(merged.get("TUNEPORT_HOME")),
            project=_read_project(path) if path else ProjectFile(),
            project_path=path,
            environment={name: SecretStr(value) for name, value in merged.items() if value != ""},
        )

    def get(self, name: str) -> str | None:
        """Return the value of an environment variable that is not a secret, or None if unset or empty."""
        value = self.environment.get(name)
        return None if value is None else value.get_secret_value()

    def secret(self, name: str) -> SecretStr | None:
        return self.environment.get(name)

    @property
    def backend(self) -> str | None:
        """Return the backend that the user chose: `TUNEPORT_BACKEND`, else `backend = ` in `tuneport.toml`, else
        None."""
        return self.get("TUNEPORT_BACKEND") or self.project.backend

    @property
    def database_url(self) -> str:
        """Return `TUNEPORT_DATABASE_URL`, else the URL of a SQLite file in `home`, whatever characters its path has."""
        given = self.get("TUNEPORT_DATABASE_URL")
        if given is not None:
            return given
        from sqlalchemy import URL

        return URL.create("sqlite", database=str(self.home / "tuneport.db")).render_as_string(hide_password=False)

    @property
    def files_url(self) -> str | None:
        """Return `TUNEPORT_FILES_URL`, where a gateway keeps what clients upload, or None if it keeps that in `home`.
        Raises ConfigError if it is not a URL, or would hold a secret."""
        given = self.get("TUNEPORT_FILES_URL")
        if given is None:
            return None
        try:
            parts = urlsplit(given)
            secret = parts.password is not None or bool(parts.query)
        except ValueError:
            raise ConfigError("TUNEPORT_FILES_URL is no URL; write for example s3://bucket/prefix") from None
        if secret:
            raise ConfigError(
                "TUNEPORT_FILES_URL holds a password or a query; leave them out, and set the credentials as the "
                "library of that file system expects, for example AWS_SECRET_ACCESS_KEY"
            )
        if "://" not in given or (parts.scheme == "file" and (parts.netloc or len(parts.path) < 2)):
            raise ConfigError(
                f"TUNEPORT_FILES_URL is {given!r}; write a whole URL, such as s3://bucket/prefix or file:///mnt/files"
            )
        return given

    @property
    def local_usd_per_hour(self) -> float | None:
        """Return `TUNEPORT_LOCAL_USD_PER_HOUR`: the price of an hour of this machine, all of its GPUs together, if it
        is rented. Raises ConfigError if it is not an amount."""
        return self._dollars("TUNEPORT_LOCAL_USD_PER_HOUR")

    @property
    def monthly_budget(self) -> float | None:
        """Return `TUNEPORT_MONTHLY_BUDGET`: US dollars for all backends' jobs in a calendar month (UTC); None: no
        cap."""
        return self._dollars("TUNEPORT_MONTHLY_BUDGET")

    @property
    def job_budget(self) -> float | None:
        """Return `TUNEPORT_JOB_BUDGET`, else `job = ` in `[budgets]` of `tuneport.toml`: US dollars that one job may
        cost without a question; None: each job is asked for."""
        given = self._dollars("TUNEPORT_JOB_BUDGET")
        return self.project.budgets.job if given is None else given

    def _dollars(self, name: str) -> float | None:
        given = self.get(name)
        if given is None:
            return None
        try:
            amount = float(given.removeprefix("$").replace(",", ""))
        except ValueError:
            amount = math.nan
        if not 0 <= amount < math.inf:
            raise ConfigError(f"{name} is {given!r}, which is no amount of US dollars; write for example {name}=2000")
        return amount

    @property
    def gateway_id(self) -> str | None:
        """Return the id of this gateway process, used to detect requests that loop back to it. None outside a
        gateway."""
        return self.get("TUNEPORT_GATEWAY_ID")

    def base_url(self, backend: str, default: str | None) -> str | None:
        """Return a backend's upstream: `TUNEPORT_NAME_BASE_URL`, its table in `tuneport.toml`, else the manifest's.

        Never `OPENAI_BASE_URL`: users point that one at tuneport itself.
        """
        variable = f"TUNEPORT_{backend.upper().replace('-', '_')}_BASE_URL"
        table = self.project.backends.get(backend, BackendSettings())
        return self.get(variable) or table.base_url or default

    def asks_in_batches(self, backend: str) -> bool:
        """Return whether evaluations ask that backend in batches, at another price: its option `batches`."""
        return self.project.backends.get(backend, BackendSettings()).options.get("batches") is True

    def delete_files(self, backend: str) -> bool:
        """Return whether files uploaded to that backend are deleted there when their job has ended."""
        own = self.project.backends.get(backend, BackendSettings()).delete_files
        return self.project.delete_files if own is None else own

    def aliases(self, name: str) -> dict[str, str] | None:
        """Return the `[models.NAME]` table: backend name to that backend's model, or None if there is no such alias."""
        return self.project.models.get(name)


def _home(given: str | None) -> Path:
    try:
        home = Path(given or "~/.tuneport").expanduser().absolute()
        str(home).encode()  # the store's address, documents and messages are text
        return home
    except UnicodeEncodeError as error:
        raise ConfigError(
            f"TUNEPORT_HOME {os.fsencode(home)!r} is not UTF-8; set it to a folder with another name"
        ) from error
    except RuntimeError as error:
        raise ConfigError(f"TUNEPORT_HOME {given or 'is not set'}: {error}; set it to a folder") from error


def _read_dotenv(path: Path) -> dict[str, str]:
    try:
        return {name: value for name, value in dotenv_values(path).items() if value is not None}
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} cannot be read: {error}; correct the file, or save it as UTF-8") from error


def _project_file(directory: Path, explicit: str | None) -> Path | None:
    if explicit:
        path = Path(explicit).expanduser().absolute()
        if not path.is_file():
            raise ConfigError(f"TUNEPORT_CONFIG names {path}, which is not a file; correct or unset it")
        return path
    for folder in (directory, *directory.parents):
        if (folder / "tuneport.toml").is_file():
            return folder / "tuneport.toml"
    return None


@cache
def _read_project(path: Path) -> ProjectFile:
    return validate_toml_file(ProjectFile, path)
