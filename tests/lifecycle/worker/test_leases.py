"""Who holds a lease, in words."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tuneport.lifecycle.worker.leases import describe_lease_owner, new_lease_owner


def owner_of(process: int) -> str:
    """Return the name of a holder in another process of this machine."""
    machine, _, _ = new_lease_owner().rpartition(":")[0].rpartition(":")
    return f"{machine}:{process}:0123456789ab"


@pytest.mark.parametrize(
    ("words", "expected"),
    [(["serve", "--port", "0"], "the gateway, `tuneport serve`"), (["watch"], "another command of this machine")],
)
def test_a_gateway_is_told_from_another_command(words: list[str], expected: str) -> None:
    waits = [sys.executable, "-c", "import sys; print('there', flush=True); sys.stdin.read()", *words]
    with subprocess.Popen(waits, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None and process.stdout.readline() == "there\n"
        assert describe_lease_owner(owner_of(process.pid)) == f"{expected} (process {process.pid})"


def test_a_process_that_cannot_be_looked_at_is_named_by_what_is_known() -> None:
    assert describe_lease_owner(f"box/4f2a/4026:{os.getpid()}:0123456789ab") == "another process on box"
    assert describe_lease_owner(owner_of(2**22 + 1)) == f"another command of this machine (process {2**22 + 1})"
    assert describe_lease_owner("somebody else") == describe_lease_owner(None) == "another process"
