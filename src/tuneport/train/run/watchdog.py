"""Ends an abandoned trainer, with all that it started, when it does not end by itself.

A trainer looks at its run's folder between steps. One that is stuck, in loading a model or in a kernel that hangs, must
not keep its device after its run was cancelled or its folder deleted; and the process that did that may be gone, too.
"""

from __future__ import annotations

import os
import signal
import threading
import time

from tuneport.train.run.run_folder import TrainingRunFolder

GRACE_SECONDS = 30.0  # longer than that of `backends/local/runs/run.py`, whose kill leaves a record
GRACE_SECONDS_ON_RAY = 150.0  # the same where a job on a cluster is to be stopped first
_SECONDS_BETWEEN_LOOKS = 2.0


def start_training_watchdog(run: TrainingRunFolder) -> None:
    threading.Thread(target=_watch, args=(run,), name="tuneport-watchdog", daemon=True).start()


def _watch(run: TrainingRunFolder) -> None:
    unwanted_since: float | None = None
    grace = GRACE_SECONDS_ON_RAY if run.spec.provider_options.get("executor") == "ray" else GRACE_SECONDS
    while True:
        time.sleep(_SECONDS_BETWEEN_LOOKS)
        if not (run.folder_deleted or run.cancelled):
            unwanted_since = None
        elif unwanted_since is None:
            unwanted_since = time.monotonic()
        elif time.monotonic() - unwanted_since >= grace:
            if os.getpgrp() == os.getpid():  # as the backend starts it
                os.killpg(os.getpid(), signal.SIGKILL)
            os.kill(os.getpid(), signal.SIGKILL)
