"""Code that a model wrote tries to get out."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

import tuneport
from tuneport.errors import ConfigError, UnsupportedError
from tuneport.sandbox import walls
from tuneport.sandbox.programs import run_sandboxed_program
from tuneport.sandbox.requirements import (
    LEAST_LANDLOCK,
    can_bubblewrap_make_root,
    check_landlock_version,
    check_machine_can_confine,
)
from tuneport.sandbox.session import SandboxLimits, SandboxSession
from tuneport.scoring.examples import Answer, Example
from tuneport.scoring.metrics import METRICS, load_metric
from tuneport.scoring.metrics.code import extract_scored_code

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="code is confined on Linux only")

LIMITS = SandboxLimits(seconds=2, memory_mib=256)


def escapes(program: str, expected: str) -> None:
    outcome = run_sandboxed_program(program, LIMITS)
    assert not outcome.passed and expected in outcome.why, outcome


def test_what_is_right_passes_and_what_is_not_says_why() -> None:
    assert run_sandboxed_program("def f(x): return x + 1\nassert f(1) == 2").passed
    escapes("assert 1 + 1 == 3, 'sums'", "AssertionError: sums")
    escapes("def (", "SyntaxError")


@pytest.mark.parametrize(
    "program", ["import sys; sys.exit(0)", "import os; os._exit(0)", "open('passed', 'w').write('x')\n1/0"]
)
def test_an_early_end_does_not_pass(program: str) -> None:
    assert not run_sandboxed_program(f"{program}\nassert False", LIMITS).passed


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
    outcome = run_sandboxed_program(bomb, LIMITS)
    assert outcome.why.startswith("children: ") and int(outcome.why.split()[1]) < LIMITS.processes
    assert time.monotonic() - begun < 15
    assert outcome.why != "children: 0"


def test_the_callers_keys_cannot_be_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_API_KEY", "sk-secret")
    assert run_sandboxed_program("import os\nassert 'SOME_API_KEY' not in os.environ").passed
    for place in (f"/proc/{os.getpid()}/environ", f"/proc/{os.getppid()}/environ", "/proc/self/environ", "/etc/passwd"):
        outcome = run_sandboxed_program(f"print(open('{place}').read())", LIMITS)
        # In a root folder of its own the files do not exist.
        assert not outcome.passed and ("Permission denied" in outcome.why or "No such file" in outcome.why), outcome


def test_nothing_outside_can_be_read_written_or_signalled(tmp_path: Path) -> None:
    secret = tmp_path / ".env"
    secret.write_text("OPENAI_API_KEY=sk-secret")
    secret.chmod(0o666)
    gone = "No such file" if run_sandboxed_program("", LIMITS).own_root else "Permission denied"
    escapes(f"open('{secret}').read()", gone)
    escapes(f"open('{secret}', 'w').write('x')", gone)
    escapes(f"import os; os.unlink('{secret}')", gone)
    escapes(f"import os; os.symlink('{secret}', 'link'); open('link').read()", gone)
    escapes(f"import os; os.kill({os.getpid()}, 0)", "Error")
    assert secret.read_text() == "OPENAI_API_KEY=sk-secret"


def test_what_an_operator_keeps_beside_python_cannot_be_read(tmp_path: Path) -> None:
    outcome = run_sandboxed_program("import os; os.listdir('/usr/src')", LIMITS)
    assert not outcome.passed and ("Permission denied" in outcome.why or "No such file" in outcome.why), outcome
    # A project whose folder is the environment, as `python -m venv .` makes it.
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(tmp_path)], check=True)
    places = "from tuneport.sandbox import walls; print(*walls.sandbox_readable_paths(), sep='\\n')"
    environment = os.environ | {"PYTHONPATH": str(Path(tuneport.__file__).parents[1])}
    command = [str(tmp_path / "bin/python"), "-c", places]
    told = subprocess.run(command, env=environment, cwd=tmp_path, check=True, capture_output=True, text=True).stdout
    readable = [Path(line) for line in told.splitlines()]
    assert tmp_path / "pyvenv.cfg" in readable
    for place in (tmp_path / ".env", tmp_path / "lib/notes", tmp_path / "bin/deploy", Path("/usr/src/app/.env")):
        assert not any(place.is_relative_to(path) for path in readable), (place, readable)


def test_code_is_refused_where_it_could_read_the_folder_or_the_home(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inside = Path(walls.__file__).parent
    with pytest.raises(ConfigError, match="the code is not run: TUNEPORT_HOME .* lies in .*; set TUNEPORT_HOME to"):
        check_machine_can_confine(inside / "home")
    (tmp_path / "link").symlink_to(inside)
    monkeypatch.setenv("TUNEPORT_HOME", str(tmp_path / "link/home"))
    with pytest.raises(ConfigError, match="the code is not run: TUNEPORT_HOME .*link/home lies in"):
        run_sandboxed_program("")
    monkeypatch.delenv("TUNEPORT_HOME")
    monkeypatch.chdir(inside)
    with pytest.raises(
        ConfigError, match="the code is not run: the present folder .*; go to another folder"
    ) as refused:
        run_sandboxed_program("")
    assert "\n" not in str(refused.value)


def test_the_network_is_out_of_reach() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.2)
        port = server.getsockname()[1]
        program = f"import socket; socket.create_connection(('127.0.0.1', {port}), 1)"
        assert not run_sandboxed_program(program, LIMITS).passed
        with pytest.raises(TimeoutError):
            server.accept()


def test_memory_and_disk_are_limited_for_the_whole_run() -> None:
    four = "import os, time\nfor _ in range(4):\n  if os.fork() == 0:\n    x = bytearray(150 << 20); time.sleep(99)\n"
    escapes(four + "time.sleep(99)", "the run used more than 256 MiB")
    files = "for n in range(9): open(str(n), 'wb').write(b'x' * (15 << 20))"
    outcome = run_sandboxed_program(files, LIMITS)
    assert not outcome.passed and ("No space left" in outcome.why or "the run wrote more" in outcome.why), outcome


def test_calls_that_landlock_has_no_right_for_are_refused() -> None:
    tried = "import os\nopen('f', 'w')\nrefused = 0\n"
    for call in (
        "os.chmod('f', 0o777)",
        "os.utime('f', (1, 1))",
        "os.setxattr('f', 'user.x', b'')",
        "os.chown('f', 0, 0)",
    ):
        tried += f"try: {call}\nexcept PermissionError: refused += 1\n"
    outcome = run_sandboxed_program(f"{tried}assert refused == 4, refused")
    assert outcome.passed, outcome


def test_a_run_has_a_root_folder_of_its_own(tmp_path: Path) -> None:
    if not can_bubblewrap_make_root():
        pytest.skip("bubblewrap cannot make a root folder here: the kernel gives this user no namespaces")
    there = "import os, sys\nassert not os.path.exists({0!r}), 'seen'\nassert os.listdir('.') == ['main.py']"
    outcome = run_sandboxed_program(there.format(str(tmp_path)))
    assert outcome.passed and outcome.own_root, outcome


def test_numpy_and_asyncio_run_inside() -> None:
    program = "import asyncio, numpy\nassert numpy.ones(3).sum() == 3\nasyncio.run(asyncio.sleep(0))"
    outcome = run_sandboxed_program(program)
    assert outcome.passed, outcome


@pytest.mark.parametrize(("landlock", "said"), [(0, "this kernel has none"), (5, "this kernel has version 5")])
def test_an_older_kernel_is_refused_in_words(landlock: int, said: str) -> None:
    check_landlock_version(LEAST_LANDLOCK)
    with pytest.raises(UnsupportedError, match=f"Linux 6.12 or newer.*{said}; use a machine") as refused:
        check_landlock_version(landlock)
    assert "\n" not in str(refused.value)


def test_what_confined_code_answers_is_not_trusted() -> None:
    flood = "import os\nwhile True: os.write(2, b'x' * 65536)"
    outcome = run_sandboxed_program(flood, LIMITS)
    assert not outcome.passed and len(outcome.why) <= 300
    deep = "import os\nfor fd in range(3, 64):\n  try: os.write(fd, b'[' * 200000 + b'\\n')\n  except OSError: pass"
    assert not run_sandboxed_program(deep, LIMITS).passed


def seconds_used() -> float:
    """Return the processor's seconds of all processes below this one."""
    total, waiting = 0, [os.getpid()]
    while waiting:
        for task in Path(f"/proc/{waiting.pop()}/task").glob("*"):
            for child in (task / "children").read_text().split():
                waiting.append(int(child))
                total += sum(map(int, Path(f"/proc/{child}/stat").read_text().rsplit(")", 1)[1].split()[11:13]))
    return total / os.sysconf("SC_CLK_TCK")


def test_between_calls_nothing_runs() -> None:
    grader = "import os\nfor _ in range(9):\n  if os.fork() == 0:\n    while True: pass\n"
    grader += "import threading\nthreading.Thread(target=lambda: [None for _ in iter(int, 1)]).start()\n"
    with SandboxSession(SandboxLimits()) as session:
        assert session.ask({"grader": grader + "def grade(sample, item): return item"}, 20) == {"ready": True}
        time.sleep(0.3)  # the launcher has heard of it
        before = seconds_used()
        time.sleep(0.7)
        assert seconds_used() - before < 0.15
        for number in range(3):
            assert session.ask({"sample": {}, "item": number}, 20) == {"score": number}


@pytest.mark.parametrize(
    "body",
    [
        "for _ in range(4):\n    if os.fork() == 0:\n      while True: pass\n  time.sleep(30)",
        # Children that are never waited for, and end between two looks or soon after.
        "signal.signal(signal.SIGCHLD, signal.SIG_IGN)\n  while True:\n    if os.fork() == 0:\n"
        "      end = time.time() + 0.05\n      while time.time() < end: pass\n      os._exit(0)\n    time.sleep(0.06)",
    ],
)
def test_a_call_has_a_limit_on_the_processors_of_all_its_processes(body: str) -> None:
    grader = f"import os, signal, time\ndef grade(sample, item):\n  if item: return 1\n  {body}"
    with SandboxSession(SandboxLimits(seconds=1)) as session:
        assert session.ask({"grader": grader}, 20) == {"ready": True}
        begun = time.monotonic()
        assert session.ask({"sample": {}, "item": 0}, 25) is None
        assert session.wait(1) == 137 and time.monotonic() - begun < 20
        assert "the call used more than 1 s of the processors" in session.stderr_tail


def test_each_call_has_the_limit_anew() -> None:
    grader = "import time\ndef grade(sample, item):\n  end = time.process_time() + 0.4\n"
    grader += "  while time.process_time() < end: pass\n  return item"
    with SandboxSession(SandboxLimits(seconds=1)) as session:
        assert session.ask({"grader": grader}, 20) == {"ready": True}
        for number in range(4):
            assert session.ask({"sample": {}, "item": number}, 20) == {"score": number}


def test_code_is_a_metric_only_where_it_is_allowed() -> None:
    rows = [Example([{"role": "user", "content": "double"}], "", tests="assert double(4) == 8")] * 2
    answers = [
        Answer("Here:\n```python\ndef double(x):\n    return 2 * x\n```\nDone."),
        Answer("def double(x): return x"),
    ]
    with pytest.raises(ConfigError, match="allow_code"):
        METRICS["code_passed"].tally(rows, answers)
    assert load_metric("code_passed", allow_code=True).tally(rows, answers).right.tolist() == [True, False]
    with pytest.raises(ConfigError, match="row 1 has no `tests`"):
        load_metric("code_passed", allow_code=True).tally([Example([], "")], answers[:1])
    assert extract_scored_code("```js\nx\n```") == "```js\nx\n```"
    with pytest.raises(ConfigError, match="seconds is 0"):
        SandboxLimits(seconds=0)
