"""Code that a model wrote tries to get out."""

from __future__ import annotations

import os
import socket
import sys
import time
from pathlib import Path

import pytest

from tuneport.errors import ConfigError
from tuneport.evaluate.examples import Answer, Example
from tuneport.evaluate.metrics import METRICS, metric
from tuneport.evaluate.metrics.code import code_of
from tuneport.evaluate.sandbox import Limits, guarantees, run

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="code is confined on Linux only")

LIMITS = Limits(seconds=2, memory_mib=256)


def escapes(program: str, expected: str) -> None:
    outcome = run(program, LIMITS)
    assert not outcome.passed and expected in outcome.why, outcome


def test_what_is_right_passes_and_what_is_not_says_why() -> None:
    assert run("def f(x): return x + 1\nassert f(1) == 2").passed
    escapes("assert 1 + 1 == 3, 'sums'", "AssertionError: sums")
    escapes("def (", "SyntaxError")


@pytest.mark.parametrize(
    "program", ["import sys; sys.exit(0)", "import os; os._exit(0)", "open('passed', 'w').write('x')\n1/0"]
)
def test_an_early_end_does_not_pass(program: str) -> None:
    assert not run(f"{program}\nassert False", LIMITS).passed


@pytest.mark.parametrize("program", ["while True: pass", "import time; time.sleep(60)"])
def test_what_never_ends_is_ended(program: str) -> None:
    begun = time.monotonic()
    escapes(program, "not done after 2 s")
    assert time.monotonic() - begun < 15


def test_memory_and_files_have_limits() -> None:
    escapes("x = bytearray(1 << 30)", "MemoryError")
    escapes("open('big', 'wb').write(b'x' * (64 << 20))", "File too large")
    escapes("kept = [open('main.py') for _ in range(200)]", "Too many open files")


def test_a_fork_bomb_is_stopped_and_nothing_is_left() -> None:
    bomb = "import os, time\nn = 0\ntry:\n  while True:\n    if os.fork() == 0:\n      os.setsid(); time.sleep(99)\n"
    bomb += "    n += 1\nexcept OSError:\n    raise SystemExit(f'children: {n}')"
    begun = time.monotonic()
    outcome = run(bomb, LIMITS)
    assert outcome.why.startswith("children: ") and int(outcome.why.split()[1]) < LIMITS.processes
    assert time.monotonic() - begun < 15
    assert (outcome.why == "children: 0") is not outcome.in_force["may_fork"]


def test_the_callers_keys_cannot_be_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_API_KEY", "sk-secret")
    assert run("import os\nassert 'SOME_API_KEY' not in os.environ").passed
    for place in (f"/proc/{os.getpid()}/environ", f"/proc/{os.getppid()}/environ", "/proc/self/environ", "/etc/passwd"):
        escapes(f"print(open('{place}').read())", "Permission denied")


def test_nothing_outside_can_be_read_written_or_signalled(tmp_path: Path) -> None:
    secret = tmp_path / ".env"
    secret.write_text("OPENAI_API_KEY=sk-secret")
    secret.chmod(0o666)
    escapes(f"open('{secret}').read()", "Permission denied")
    escapes(f"open('{secret}', 'w').write('x')", "Permission denied")
    escapes(f"import os; os.unlink('{secret}')", "Permission denied")
    escapes(f"import os; os.symlink('{secret}', 'link'); open('link').read()", "Permission denied")
    escapes(f"import os; os.kill({os.getpid()}, 0)", "Error")
    assert secret.read_text() == "OPENAI_API_KEY=sk-secret"


def test_the_network_is_out_of_reach() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        program = f"import socket; socket.create_connection(('127.0.0.1', {port}), 1)"
        if not guarantees()["no_tcp"]:
            pytest.skip("this kernel can keep nobody from the network")
        assert not run(program, LIMITS).passed


def test_code_is_a_metric_only_where_it_is_allowed() -> None:
    rows = [Example([{"role": "user", "content": "double"}], "", tests="assert double(4) == 8")] * 2
    answers = [
        Answer("Here:\n```python\ndef double(x):\n    return 2 * x\n```\nDone."),
        Answer("def double(x): return x"),
    ]
    with pytest.raises(ConfigError, match="allow_code"):
        METRICS["code_passed"].tally(rows, answers)
    assert metric("code_passed", allow_code=True).tally(rows, answers).right.tolist() == [True, False]
    with pytest.raises(ConfigError, match="row 1 has no `tests`"):
        metric("code_passed", allow_code=True).tally([Example([], "")], answers[:1])
    assert code_of("```js\nx\n```") == "```js\nx\n```"
    with pytest.raises(ConfigError, match="seconds is 0"):
        Limits(seconds=0)
