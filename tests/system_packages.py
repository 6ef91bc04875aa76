"""Installs what the tests marked `full` need of the system, where that can be done.

    python -m tests.system_packages

As root on a machine with apt-get it installs what is missing; elsewhere it says what the tests will skip.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

PACKAGES = {
    "postgresql": "the store against a PostgreSQL server",
    "chromium": "pages in a real browser",
    "slurmctld": "runs on a Slurm cluster",
    "slurmd": "runs on a Slurm cluster",
    "slurm-client": "runs on a Slurm cluster",
    "munge": "runs on a Slurm cluster",
}


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


def main() -> int:
    present = {"postgresql": postgres_programs() is not None, "chromium": browser_program() is not None}
    present |= dict.fromkeys(("slurmctld", "slurmd", "slurm-client", "munge"), slurm_programs() is not None)
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
