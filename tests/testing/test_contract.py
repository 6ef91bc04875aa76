"""The contract suite that ships, over a backend of a package outside tuneport."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from tests.testing.outside import lay_out, run_contract
from tuneport.installation import install_extra


def test_a_backend_of_another_package_passes_and_one_with_a_fault_does_not(tmp_path: Path) -> None:
    lay_out(tmp_path / "toy")
    told = run_contract(sys.executable, tmp_path / "toy")
    failed = re.findall(r"^FAILED test_toy\.py::(\S+)", told, re.MULTILINE)
    assert failed == ["TestForgetful::test_find_knows_the_token"]
    assert "assert 'absent' == 'found'" in told, "the values show, as in a test of one's own"
    passed = re.search(r"1 failed, (\d+) passed", told)
    assert passed is not None and int(passed[1]) >= 25


def test_without_pytest_the_contract_says_what_to_install() -> None:
    code = "import sys; sys.modules['pytest'] = None; import tuneport.testing.contract"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stderr.splitlines()[-1] == (
        f"ImportError: tuneport.testing.contract is a suite for pytest: {install_extra('testing')}"
    )
