"""Imports the command line once and forks a process for each command: `python -m tests.faults.money.forkserver`.

A line of JSON on stdin asks for a command: id, argv, env, cwd, out, err (paths). The answers are lines with the id and
the process id, and with the id and how it ended (the exit status, or minus the signal). A command that is asked for
`here` runs in this process itself: what the libraries prepare at their first use is then there for all children.
"""

from __future__ import annotations

import gc
import json
import os
import selectors
import sys
import traceback
from typing import Any, NoReturn


def main() -> None:
    asked, answers = os.dup(0), os.dup(1)
    os.dup2(2, 1)
    import tuneport.cli.main  # noqa: F401 - for the children

    selector = selectors.DefaultSelector()
    selector.register(asked, selectors.EVENT_READ)
    rest = b""
    while True:
        for key, _ in selector.select():
            if key.fd != asked:
                number, process = key.data
                selector.unregister(key.fd)
                os.close(key.fd)
                _, status, used = os.wait4(process, 0)
                cpu = used.ru_utime + used.ru_stime
                _say(answers, {"id": number, "code": os.waitstatus_to_exitcode(status), "cpu": cpu})
                continue
            read = os.read(asked, 65536)
            if not read:
                return
            *lines, rest = (rest + read).split(b"\n")
            for line in lines:
                _take(json.loads(line), selector, answers)


def _take(wanted: dict[str, Any], selector: selectors.BaseSelector, answers: int) -> None:
    if wanted.get("here"):
        folder, environment, kept = os.getcwd(), dict(os.environ), [os.dup(number) for number in range(3)]
        code = _run(wanted)
        for number, copy in enumerate(kept):
            os.dup2(copy, number)
            os.close(copy)
        os.chdir(folder)
        os.environ.clear()
        os.environ.update(environment)
        gc.collect()
        gc.freeze()
        _say(answers, {"id": wanted["id"], "code": code})
        return
    process = os.fork()
    if process == 0:
        _run_in_child(wanted)
    selector.register(os.pidfd_open(process), selectors.EVENT_READ, (wanted["id"], process))
    _say(answers, {"id": wanted["id"], "pid": process})


def _say(answers: int, document: dict[str, Any]) -> None:
    os.write(answers, json.dumps(document).encode() + b"\n")


def _run_in_child(wanted: dict[str, Any]) -> NoReturn:
    code = 70
    try:
        os.setsid()
        code = _run(wanted)
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


def _run(wanted: dict[str, Any]) -> int:
    """The exit code of the command line, run in this process."""
    import tuneport.cli.main

    os.chdir(wanted["cwd"])
    os.environ.clear()
    os.environ.update(wanted["env"])
    opened = [os.open(os.devnull, os.O_RDONLY)]
    opened += [os.open(wanted[name], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600) for name in ("out", "err")]
    for target, source in enumerate(opened):
        os.dup2(source, target)
        os.close(source)
    sys.argv = ["tuneport", *wanted["argv"]]
    try:
        tuneport.cli.main.run()
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else 0 if ended.code is None else 1
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
    return 0


if __name__ == "__main__":
    main()
