"""Installs what the tests marked `full` need of the system, where that can be done.

    python -m tests.support.system_packages

As root on a machine with apt-get it installs what is missing; elsewhere it says what the tests will skip. Prism, which
validates requests against a published OpenAPI document, is npm's and goes to a folder that git ignores.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from tests.support.folders import CHECKOUT

PACKAGES = {
    "postgresql": "the store against a PostgreSQL server",
    "chromium": "pages in a real browser",
    "slurmctld": "runs on a Slurm cluster",
    "slurmd": "runs on a Slurm cluster",
    "slurm-client": "runs on a Slurm cluster",
    "munge": "runs on a Slurm cluster",
    "faketime": "clocks that jump in the bench of paid jobs",
    "tmux": "attacks on the sandbox",
    "openssh-client": "attacks on the sandbox",
    "nodejs": "requests against OpenAI's document, by Prism",
    "npm": "requests against OpenAI's document, by Prism",
}
PRISM = "@stoplight/prism-cli@5.14.2"  # 5.15 and later want Node.js 24
PRISM_FOLDER = CHECKOUT / ".venv" / "prism"


def postgres_programs() -> Path | None:
    """The folder with initdb and pg_ctl, newest version first, or None."""
    versions = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name), reverse=True)
    for folder in versions:
        if (folder / "initdb").exists():
            return folder
    found = shutil.which("initdb")
    return None if found is None else Path(found).parent


def browser_program() -> str | None:
    return shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


def slurm_programs() -> str | None:
    """The folders of all the programs that a Slurm of one node needs, or None."""
    path = os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin"
    wanted = ("munged", "slurmctld", "slurmd", "sbatch", "srun")
    return path if all(shutil.which(name, path=path) for name in wanted) else None


def clock_library() -> Path | None:
    """The library that gives one process another time of the day, or None."""
    return next(iter(sorted(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))), None)


def prism_program() -> list[str] | None:
    """The command that starts Prism, or None where it is not installed."""
    node, script = (
        shutil.which("node"),
        PRISM_FOLDER / "node_modules" / "@stoplight" / "prism-cli" / "dist" / "index.js",
    )
    return None if node is None or not script.is_file() else [node, str(script)]


def install_prism() -> str | None:
    """Install Prism, unless it is there; why that is not possible, or None."""
    npm = shutil.which("npm")
    if prism_program() is not None:
        return None
    if npm is None or shutil.which("node") is None:
        return "there is no npm"
    PRISM_FOLDER.mkdir(parents=True, exist_ok=True)
    command = [npm, "install", "--prefix", str(PRISM_FOLDER), "--no-audit", "--no-fund", "--ignore-scripts", PRISM]
    print(f"Installing {PRISM} ...", file=sys.stderr)
    done = subprocess.run(command, capture_output=True, text=True)
    return None if done.returncode == 0 else f"npm: {' '.join(done.stderr.split())[-300:]}"


def main() -> int:
    code = system_packages()
    if (reason := install_prism()) is not None:
        print(f"Prism is not installed ({reason}): tests of {PACKAGES['npm']} will be skipped", file=sys.stderr)
    return code


def system_packages() -> int:
    present = {"postgresql": postgres_programs() is not None, "chromium": browser_program() is not None}
    present |= {"tmux": shutil.which("tmux") is not None, "openssh-client": shutil.which("ssh-agent") is not None}
    present |= dict.fromkeys(("slurmctld", "slurmd", "slurm-client", "munge"), slurm_programs() is not None)
    present["faketime"] = clock_library() is not None
    present |= {"nodejs": shutil.which("node") is not None, "npm": shutil.which("npm") is not None}
    missing = [name for name in PACKAGES if not present[name]]
    if not missing:
        return 0
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        for name in missing:
            print(f"{name} is not installed: tests of {PACKAGES[name]} will be skipped", file=sys.stderr)
        return 0
    print(f"Installing {', '.join(missing)} ...", file=sys.stderr)
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    for command in (["apt-get", "-qq", "update"], ["apt-get", "-qq", "-y", "install", *missing]):
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
        if done.returncode != 0:
            print(f"error: {' '.join(command)}: {done.stderr.strip()[-500:]}", file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
