"""Weights on the model hub. Done here and not by the trainer, which has no keys."""

from __future__ import annotations

import re
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from tuneport.errors import AuthError, ConfigError, ProviderError, RejectedError, UnavailableError, one_line
from tuneport.installation import install_extra
from tuneport.private import make_private_folder

if TYPE_CHECKING:
    from tuneport.lifecycle.service import JobService
    from tuneport.settings import Settings

TOKEN = "HF_TOKEN"
_NAME = re.compile(r"[\w.-]+/[\w.-]{1,96}")


def check_job_push(name: str, settings: Settings) -> None:
    """Raise ConfigError or AuthError if the push cannot work, before anything is fetched."""
    if not _NAME.fullmatch(name):
        raise ConfigError(f"{name!r} is no repository name; write it as OWNER/NAME")
    if settings.secret(TOKEN) is None:
        raise AuthError(
            f"no key for the hub: set {TOKEN} in the environment or in .env (with the right to write)", provider="hub"
        )
    try:
        import huggingface_hub  # noqa: F401
    except ModuleNotFoundError as error:
        raise ConfigError(f"pushing to the hub needs its client: {install_extra('checks')}") from error


def push_folder_to_hub(folder: Path, name: str, settings: Settings, *, private: bool = True) -> str:
    """Upload all of `folder` as one commit to the repository `name`, made if need be; return the address of the commit.

    Unchanged files are not sent again. Raises ProviderError if the hub refuses it or cannot be reached.
    """
    check_job_push(name, settings)
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, OfflineModeIsEnabled

    token = settings.secret(TOKEN)
    assert token is not None
    api = HfApi(endpoint=settings.get("HF_ENDPOINT"), token=token.get_secret_value())
    try:
        api.create_repo(name, private=private, exist_ok=True)
        commit = api.upload_folder(repo_id=name, folder_path=folder, commit_message="Weights, by tuneport")
    except HFValidationError as error:
        raise ConfigError(f"{name!r} is no name for the hub: {_line(error)}; choose another") from error
    except ValueError as error:  # what the hub says of the model card
        raise RejectedError(
            f"the hub refuses {name}: {_line(error)}; correct that and push again", provider="hub"
        ) from error
    except HfHubHTTPError as error:
        raise _refusal(name, error) from error
    except (OfflineModeIsEnabled, OSError) as error:
        raise UnavailableError(
            f"the hub could not be reached ({_line(error)}); nothing was pushed; connect, or unset HF_HUB_OFFLINE",
            provider="hub",
        ) from error
    except Exception as error:  # the HTTP library's own kinds, which are not the hub client's to promise
        raise UnavailableError(f"pushing to the hub broke off ({_line(error)}); try again", provider="hub") from error
    return str(commit.commit_url)


def push_job_to_hub(
    workspace: JobService, job_id: str, name: str, *, merged: bool = False, private: bool = True
) -> str:
    """Upload a job's weights to the hub, by way of a temporary folder; return the address of the commit."""
    check_job_push(name, workspace.settings)
    make_private_folder(workspace.settings.home)
    with tempfile.TemporaryDirectory(dir=workspace.settings.home, prefix=".push-") as aside:
        folder = workspace.download(job_id, Path(aside) / "weights", merged=merged)
        return push_folder_to_hub(folder, name, workspace.settings, private=private)


def _refusal(name: str, error: Exception) -> ProviderError:
    status = getattr(getattr(error, "response", None), "status_code", None)
    said = f"{name} on the hub: {_line(error)}"
    if status in (401, 403):
        return AuthError(
            f"{said}; give {TOKEN} the right to write there, or name another owner", provider="hub", http_status=status
        )
    if status is None or status >= 500:
        return UnavailableError(f"{said}; try again", provider="hub", http_status=status)
    return RejectedError(f"{said}; correct that and push again", provider="hub", http_status=status)


def _line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return one_line(" ".join(lines)[:300]) or type(error).__name__
