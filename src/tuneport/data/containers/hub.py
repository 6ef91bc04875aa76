"""Datasets of the Hugging Face hub: `hf://owner/name`, from the local cache if the hub cannot be reached."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from tuneport.data.containers.bad_row import unreadable_file_error
from tuneport.data.containers.folder import DATA
from tuneport.errors import ConfigError
from tuneport.installation import install_extra


def hub_dataset_name(path: Path | str) -> str | None:
    """Return `owner/name` for the path `hf://owner/name` (a Path has made one slash of the two), else None."""
    text = str(path)
    if not text.startswith("hf:/"):
        return None
    return text.removeprefix("hf:").strip("/").removeprefix("datasets/")


@cache
def download_hub_dataset(name: str) -> Path:
    """Return the folder of the dataset's files, downloaded if needed; the same one as long as the process runs.

    Raises DatasetError if that is impossible.
    """
    try:
        from huggingface_hub import snapshot_download
    except ImportError as error:
        raise ConfigError(f"hf:// datasets need huggingface_hub: {install_extra('checks')}") from error
    patterns = [f"*{suffix}{packing}" for suffix in DATA for packing in ("", ".gz", ".zst")]
    try:
        return Path(snapshot_download(name, repo_type="dataset", allow_patterns=patterns))
    except Exception as error:  # of the hub, of its HTTP client, of the cache, of the name: a dozen kinds
        rule = f"cannot be downloaded from the hub, and is not in its cache ({type(error).__name__})"
        fix = f"correct the name, or fetch it where there is a network: hf download --repo-type dataset {name}"
        raise unreadable_file_error(f"hf://{name}", rule, fix) from error
