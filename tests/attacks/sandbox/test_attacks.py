"""Nothing gets out of the sandbox, as root and as an ordinary user; each attack works without it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from typing import Any

import pytest

from tests.attacks.sandbox.__main__ import ROOT, SOURCE, Column, all_results, columns, faults, results, table
from tests.attacks.sandbox.attacks import ATTACKS
from tuneport.sandbox import requirements

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="code is confined on Linux only"),
    pytest.mark.skipif(
        not (shutil.which("tmux") and shutil.which("ssh-agent")),
        reason="the world outside has a tmux and an ssh-agent, not installed here",
    ),
]
ME = "root" if os.geteuid() == 0 else "user"

# What a run may ask where the kernel gives no namespaces, as the docstring of `tuneport.sandbox` says.
OPEN_WITHOUT_NAMESPACES = {
    "reads: size by stat",
    "reads: size by statx",
    "reads: time by lstat",
    "reads: what exists, by access",
    "reads: what exists, by stat",
    "reads: what exists, by open's error",
    "reads: what exists, by execve's error",
    "reads: what exists, by mkdir's error",
    "reads: where a link points",
    "reads: another process's group",
}


def needs_both_users() -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can run the attacks as another user, too")
    if subprocess.run(["unshare", "--mount", "true"], capture_output=True, check=False).returncode:
        pytest.skip("this root may not make mounts of its own, in which an ordinary user reaches this Python")


def needs_an_own_root() -> None:
    if not requirements.can_bubblewrap_make_root():
        pytest.skip("bubblewrap cannot make a root folder here: the kernel gives this user no namespaces")


def results_with_limits_tried_again(column: Column, **how: Any) -> dict[str, str]:
    """Return the results; limits on what is used, which the sandbox looks at from time to time, are tried up to twice
    more if it came too late, as on a machine that is too busy."""
    found = results(column, **how)
    for _ in range(2):
        failed = [name.partition(": ") for name, word in found.items() if word != "held"]
        if late := [name for group, _, name in failed if group == "resources"]:
            found |= results(column, **{**how, "only": late})
    return found


def test_sockets_modes_sizes_keys_and_memory_are_closed() -> None:
    """The holes that the sandbox before this one had."""
    needs_an_own_root()
    names = ["a Unix socket", "chmod a file", "size by stat", "a key of the user", "memory in four processes"]
    found = results_with_limits_tried_again(Column(ME, "after"), only=names)
    assert len(found) == len(names)
    assert set(found.values()) == {"held"}, found


def test_what_is_hidden_counts_and_does_not_stay_where_there_are_no_namespaces() -> None:
    if os.geteuid() == 0:
        needs_both_users()
    names = ["files in a folder that hides them", "files without a name", "files that stay in a hidden folder"]
    found = results(Column("user", "after"), only=names, alone=True)
    assert len(found) == len(names)
    assert set(found.values()) == {"held"}, found


def test_other_users_cannot_read_what_runs_where_there_are_no_namespaces() -> None:
    if os.geteuid() == 0:
        needs_both_users()
    asked = "import os, sys; here = os.stat('.'); sys.exit(f'{here.st_mode & 0o777:o} {here.st_uid == os.getuid()}')"
    program = "import os; os.umask(0o022); from tuneport.sandbox.programs import run_sandboxed_program; "
    program += f"print(run_sandboxed_program({asked!r}, own_root=False).why)"
    command = [sys.executable, "-c", program]
    if os.geteuid() == 0:
        command = ["unshare", "--mount", sys.executable, str(ROOT / "tests/attacks/sandbox/as_user.py"), *command]
    environment = os.environ | {"PYTHONPATH": f"{SOURCE}:{ROOT}"}
    done = subprocess.run(command, cwd=ROOT, env=environment, check=True, capture_output=True, text=True)
    assert done.stdout == "700 True\n"


@pytest.mark.full
def test_every_attack_works_without_the_sandbox_and_none_in_it(capsys: pytest.CaptureFixture[str]) -> None:
    needs_both_users()
    needs_an_own_root()
    found = all_results(None, only=[], alone=False)
    with capsys.disabled():
        print("\n" + "\n".join(table(found)))
    assert list(found) == list(columns(None)) and len(found) == 4
    assert faults(found) == []
    everybody = sum(not attack.root_only for attack in ATTACKS)
    assert [len(each) for each in found.values()] == [len(ATTACKS), len(ATTACKS), everybody, everybody]
    assert everybody >= 63


@pytest.mark.full
def test_without_namespaces_only_what_is_said_stays_open() -> None:
    if os.geteuid() == 0:
        needs_both_users()
    found = results_with_limits_tried_again(Column("user", "after"), alone=True)
    assert {name for name, word in found.items() if word != "held"} == OPEN_WITHOUT_NAMESPACES


def test_the_table_fits_a_terminal() -> None:
    found = {column: {f"{attack.group}: {attack.name}": "works" for attack in ATTACKS} for column in columns("src")}
    lines = list(table(found))
    assert len(lines) == len(ATTACKS) + 3 and max(map(len, lines)) <= 80
