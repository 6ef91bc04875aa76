"""Loads OpenAI's vocabularies for tiktoken: from litellm's copies, else downloaded once."""

from __future__ import annotations

import hashlib
import os
import threading
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from tuneport.errors import ConfigError, one_line
from tuneport.files import write_atomically
from tuneport.installation import find_package_file, install_extra

if TYPE_CHECKING:
    from tiktoken import Encoding

ENCODINGS = ("o200k_base", "cl100k_base")
_SOURCE = "https://openaipublic.blob.core.windows.net/encodings/{}.tiktoken"
_SECONDS = 20.0  # between two parts of the download, which tiktoken itself would wait for without an end
_loading = threading.RLock()


@cache
def load_openai_encoding(name: str) -> Encoding:
    """Return the vocabulary of that name. Without litellm's copy, TIKTOKEN_CACHE_DIR or a folder of tuneport's home
    keeps what was downloaded. Raises ConfigError for other names, and if the download fails."""
    if name not in ENCODINGS:
        raise ConfigError(f"the encoding {name!r} is not known; known encodings: {', '.join(ENCODINGS)}")
    import tiktoken

    with _loading:
        before = os.environ.get("TIKTOKEN_CACHE_DIR")
        os.environ["TIKTOKEN_CACHE_DIR"] = str(fetch_openai_vocabulary(name))
        try:
            return tiktoken.get_encoding(name)  # compares the file with its SHA-256
        finally:
            if before is None:
                del os.environ["TIKTOKEN_CACHE_DIR"]
            else:
                os.environ["TIKTOKEN_CACHE_DIR"] = before


def cached_vocabulary_name(encoding: str) -> str:
    """Return the name under which tiktoken keeps the file: the SHA-1 of its address."""
    return hashlib.sha1(_SOURCE.format(encoding).encode()).hexdigest()


def fetch_openai_vocabulary(encoding: str) -> Path:
    """Return the folder that has the vocabulary's file, which is not read. Raises ConfigError if there is no copy and
    the download fails."""
    name = cached_vocabulary_name(encoding)
    try:
        return find_package_file("litellm", "litellm_core_utils", "tokenizers", name).parent
    except FileNotFoundError:
        pass
    with _loading:
        home = Path(os.environ.get("TUNEPORT_HOME") or Path.home() / ".tuneport")
        path = Path(os.environ.get("TIKTOKEN_CACHE_DIR") or home / "vocabularies", name)
        if not path.is_file():
            _download(encoding, path)
    return path.parent


def _download(encoding: str, path: Path) -> None:
    import httpx2

    try:
        answer = httpx2.get(_SOURCE.format(encoding), timeout=_SECONDS, follow_redirects=True).raise_for_status()
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, answer.content)
    except (httpx2.HTTPError, OSError) as error:
        raise ConfigError(
            f"tokens cannot be counted: the vocabulary {encoding} could not be downloaded "
            f"({one_line(str(error))[:160]}); a copy comes with: {install_extra('litellm')}"
        ) from error
