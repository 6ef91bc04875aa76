"""Names the command that adds what this copy of tuneport lacks, from how the copy was installed."""

from __future__ import annotations

import json
import shlex
import shutil
import sys
import sysconfig
from functools import cache
from importlib.metadata import PackageNotFoundError, distribution
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote, urlsplit


def install_extra(extra: str) -> str:
    """Return the command that adds an extra to this copy, from where the copy came: a checkout, a wheel, an index."""
    return f"{_pip()} {_requirement(extra)}"


def install_package(name: str) -> str:
    """Return the command that installs another package beside this copy."""
    return f"{_pip()} {name}"


def find_package_file(package: str, *parts: str) -> Path:
    """Return the path of a file in an installed package, which is not imported. Raises FileNotFoundError if the package
    is not installed or has no such file."""
    spec = find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise FileNotFoundError(f"{package} is not installed")
    path = Path(spec.submodule_search_locations[0], *parts)
    if not path.is_file():
        raise FileNotFoundError(f"the installed release of {package} has no {'/'.join(parts)}")
    return path


def _pip() -> str:
    """Return pip's command for the environment that runs this, which need not be the one on the PATH."""
    scripts = Path(sysconfig.get_path("scripts"))
    on_path = shutil.which("pip")
    if on_path is not None and Path(on_path).parent == scripts:
        return "pip install"
    if (scripts / "pip").exists():
        return f"{_shown(scripts / 'pip')} install"
    if find_spec("pip") is not None:
        return f"{_shown(Path(sys.executable))} -m pip install"
    return f"uv pip install --python {_shown(Path(sys.executable))}"  # uv makes environments without pip


def _requirement(extra: str) -> str:
    origin = _origin()
    url = str(origin.get("url", ""))
    if "dir_info" in origin:
        editable = "-e " if origin["dir_info"].get("editable") else ""
        return editable + _quoted(f"{_local_path(url)}[{extra}]")
    if "vcs_info" in origin:
        commit, folder = origin["vcs_info"].get("commit_id", ""), origin.get("subdirectory")
        if url.startswith("file:///"):
            # pip records the path without the %20 that it needs, and up to release 24.0 wants a host in an address.
            url = "file://localhost" + quote(unquote(url.removeprefix("file://")))
        inside = f"#subdirectory={folder}" if folder else ""
        return _quoted(f"tuneport[{extra}] @ {origin['vcs_info']['vcs']}+{url}@{commit}{inside}")
    if url.startswith("file:") and not _file(url).exists():
        return _quoted(f"WHEEL[{extra}]") + f"  # WHEEL: the file that was {_file(url).name}"
    if url.startswith("file:"):
        return _quoted(f"{_local_path(url)}[{extra}]")
    if url:
        return _quoted(f"tuneport[{extra}] @ {url}")
    return _quoted(f"tuneport[{extra}]")


@cache
def _origin() -> dict[str, Any]:
    """Return the record that the installer left beside the package (PEP 610); an index leaves none."""
    try:
        found = distribution("tuneport")
    except PackageNotFoundError:  # run from its source, never installed
        source = Path(__file__).parent.parent.parent
        return {"url": source.as_uri(), "dir_info": {"editable": True}}
    origin: dict[str, Any] = json.loads(found.read_text("direct_url.json") or "{}")
    return origin


def _file(url: str) -> Path:
    return Path(unquote(urlsplit(url).path))


def _local_path(url: str) -> str:
    """Return the path as pip takes it: one without a slash would be the name of a project."""
    path = _shown(_file(url), quote=False)
    return path if path == "." or "/" in path else f"./{path}"


def _shown(path: Path, *, quote: bool = True) -> str:
    """Return the path as short as it can be typed in the working folder."""
    try:
        short = str(path.relative_to(Path.cwd()))
    except (ValueError, OSError):  # elsewhere, or the working folder is gone
        short = str(path)
    return shlex.quote(short) if quote else short


def _quoted(requirement: str) -> str:
    """Quote in any case: some shells take the brackets for a pattern of file names."""
    return "'" + requirement.replace("'", "'\"'\"'") + "'"
