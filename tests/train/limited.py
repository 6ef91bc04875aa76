"""`python -m tests.train.limited RUN_FOLDER`: the trainer, on a machine that runs short of memory at a certain step.

From step LIMIT_AT on the system gives the process LIMIT_MIB more than it has then, and torch's allocations really fail.
"""

from __future__ import annotations

import os
import resource
from pathlib import Path
from typing import Any

from tuneport.train import __main__ as trainer


def limit(begin: Any) -> Any:
    def on_step_begin(self: Any, args: Any, state: Any, control: Any, **rest: Any) -> Any:
        if state.global_step == int(os.environ["LIMIT_AT"]):
            status = Path("/proc/self/status").read_text()
            data = int(status.partition("VmData:")[2].split()[0]) * 1024
            _, hard = resource.getrlimit(resource.RLIMIT_DATA)
            resource.setrlimit(resource.RLIMIT_DATA, (data + int(os.environ["LIMIT_MIB"]) * 2**20, hard))
        return begin(self, args, state, control, **rest)

    return on_step_begin


if __name__ == "__main__":
    from tuneport.train.run.reporting import TrainingReporter

    TrainingReporter.on_step_begin = limit(TrainingReporter.on_step_begin)  # type: ignore[method-assign]
    trainer.run_training_process()
