"""A rank whose accelerate takes FSDP on a CPU: it does so for accelerators only, though torch's FSDP2 runs on both."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from accelerate import PartialState
from accelerate.utils import DistributedType

from tuneport.train import ddp_worker as rank

if __name__ == "__main__":
    start = PartialState.__init__

    def start_as_accelerator(state: PartialState, *args: object, **kwargs: object) -> None:
        start(state, *args, **kwargs)
        if state.distributed_type is DistributedType.MULTI_CPU:
            state.distributed_type = DistributedType.MULTI_XPU

    PartialState.__init__ = start_as_accelerator
    code = rank.run_ddp_rank(Path(sys.argv[1]))
    sys.stderr.flush()
    os._exit(code)  # as the rank itself ends
