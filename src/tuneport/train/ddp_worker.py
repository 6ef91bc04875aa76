"""`python -m tuneport.train.ddp_worker RUN_FOLDER`: one of the processes that `launch_training_ranks` starts for a run.

RANK, LOCAL_RANK and WORLD_SIZE say which. Exit codes: 0 done or stopped; 1 failed, and `FAILURE` of the run's folder
`ranks` says why.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import time
import traceback
from pathlib import Path

import torch
import torch.distributed as dist

from tuneport.files import write_atomically
from tuneport.heavy_imports import heavy_imports
from tuneport.train.run.failures import training_job_error
from tuneport.train.run.process_group import NonWritingTrainingRun
from tuneport.train.run.run_folder import TrainingRunFolder
from tuneport.train.run.stop import TrainingStop

FAILURE = "failure.json"
RENDEZVOUS = "rendezvous"
_SECONDS_BETWEEN_LOOKS = 0.5


def run_ddp_rank(folder: Path) -> int:
    _end_with_parent()
    index, count = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    meeting = folder / "ranks"
    backend = "gloo"
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
        backend = "cpu:gloo,cuda:nccl"
    dist.init_process_group(backend, init_method=f"file://{meeting / RENDEZVOUS}", rank=index, world_size=count)
    run = TrainingRunFolder(folder) if index == 0 else NonWritingTrainingRun(folder)
    run.on_cpu = not torch.cuda.is_available()  # several processes do not share another GPU
    try:
        # Heavy imports after the meeting, so that a rank which cannot start ends the others early.
        with heavy_imports():
            from tuneport.train.recipe import train

        train(run, TrainingStop(run))
    except Exception as error:
        traceback.print_exc()
        _report_rank_error(meeting, index, training_job_error(error).model_dump_json())
        return 1
    dist.destroy_process_group()
    return 0


def _report_rank_error(meeting: Path, index: int, failure: str) -> None:
    """Report an error. The first report counts: other ranks fail next because they lost this one."""
    aside = meeting / f"failure-{index}.json"
    write_atomically(aside, failure)
    with contextlib.suppress(FileExistsError):
        os.link(aside, meeting / FAILURE)


def _end_with_parent() -> None:
    """End this rank if its launcher is killed: the next launcher's ranks would write to the same folder."""
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(_SECONDS_BETWEEN_LOOKS)
        os._exit(1)

    threading.Thread(target=watch, name="tuneport-parent", daemon=True).start()


if __name__ == "__main__":
    # Not by interpreter shutdown, which waits for gloo's threads, and they for ranks that are gone.
    code = run_ddp_rank(Path(sys.argv[1]))
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
