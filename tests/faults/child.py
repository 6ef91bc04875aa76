"""The process that gets killed: `python -m tests.faults.child` imports everything once and forks a child for each run.

A line of JSON on stdin asks for a run; the answer is a line with the child's process id, and one with how it ended
(its exit status, or minus the signal). The child leaves its report in `report.json` of the folder that it was given.
"""

from __future__ import annotations

import http.client
import json
import os
import signal
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from tests.faults.bench import ROUTES, run
from tests.faults.clock import Clock
from tests.faults.journey import open_workspace, travel


def main() -> None:
    for route in ROUTES:
        run(route)  # what the SDKs and the store prepare at first use is done here, once for all children
    for line in sys.stdin:
        wanted = json.loads(line)
        process = os.fork()
        if process == 0:
            _run(wanted)
        _say(process)
        _, status = os.waitpid(process, 0)
        _say(os.waitstatus_to_exitcode(status))


def _say(number: int) -> None:
    print(number, flush=True)


def _run(wanted: dict[str, Any]) -> None:
    """In the child. Never returns."""
    code = 1
    try:
        folder = Path(wanted["folder"])
        os.chdir(folder)
        writes = _count_writes(die_after=wanted["writes"])
        clock = Clock(wanted["start"], _advance(wanted["base_url"]))
        with open_workspace(wanted["route"], wanted["base_url"], folder, clock) as workspace:
            report = travel(workspace, wanted["route"], folder)
        (folder / "report.json").write_text(json.dumps({**asdict(report), "writes": len(writes)}))
        code = 0
    finally:
        sys.stderr.flush()
        os._exit(code)


def _advance(base_url: str) -> Any:
    address = urlsplit(base_url)

    def advance(seconds: float) -> float:
        connection = http.client.HTTPConnection(str(address.hostname), address.port, timeout=60)
        try:
            connection.request("POST", "/_emulator/advance", json.dumps({"seconds": seconds}))
            return float(json.loads(connection.getresponse().read())["now"])
        finally:
            connection.close()

    return advance


def _count_writes(*, die_after: int | None) -> list[str]:
    """A statement for each transaction that wrote something, as it is committed; after `die_after` a `kill -9`."""
    from sqlalchemy import Engine, event
    from sqlalchemy.orm import Session

    writes: list[str] = []
    pending: list[str] = []

    @event.listens_for(Engine, "before_cursor_execute")
    def _statement(connection: Any, cursor: Any, statement: str, *rest: Any) -> None:
        if statement.lstrip().upper().startswith(("INSERT", "UPDATE", "DELETE")):
            pending.append(statement)

    @event.listens_for(Session, "after_commit")
    def _commit(session: Any) -> None:
        if pending:
            writes.append(pending[0])
            pending.clear()
            if len(writes) == die_after:
                os.kill(os.getpid(), signal.SIGKILL)

    return writes


if __name__ == "__main__":
    main()
