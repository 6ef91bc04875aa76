"""The last look before anything is loaded: does the run fit into what is free on its device now?"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import psutil
import torch

from tuneport.base_models import BaseModelDevice
from tuneport.errors import ConfigError
from tuneport.training_options import TrainingOptions

GIB = 2**30


def refuse_too_large_training(
    need: Mapping[str, Any], device: BaseModelDevice, options: TrainingOptions, *, processes: int = 1
) -> None:
    """Raise ConfigError if the estimate that came with the request exceeds the free memory.

    `need` has `expected_gib` and `advice`; without an estimate nothing is refused. `processes` on this machine need
    that much each, and share main memory.
    """
    if not need or options.allow_oversize:
        return
    if device.name.startswith("cuda"):
        free = torch.cuda.mem_get_info(device.name)[0] / GIB
    else:  # Apple's GPUs share main memory
        free = psutil.virtual_memory().available / GIB / processes
    if need["expected_gib"] > free:
        raise ConfigError(
            f"the run needs about {need['expected_gib']:.1f} GiB and {free:.1f} GiB are free on {device.name}; "
            f"{need['advice']}"
        )
