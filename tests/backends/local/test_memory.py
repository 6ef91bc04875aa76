"""What a local run needs at least, as it is asked before the run starts."""

from __future__ import annotations

import pytest

from tuneport.backends.local.memory import LocalModelSize, least_local_training_memory
from tuneport.manifests import load_models
from tuneport.types import Adapter, Method

NAME = "llama-3.2-1b-instruct"
NUMBERS = {"max_length": 512, "lora_rank": 16}


@pytest.mark.parametrize("method", [Method.DPO, Method.KTO, Method.GRPO, Method.RLOO, Method.RFT])
@pytest.mark.parametrize("shape", ["known", "only the size"])
def test_full_fine_tuning_against_a_reference_holds_one_copy_of_it(method: Method, shape: str) -> None:
    weights = load_models().weights[NAME]
    size = LocalModelSize(weights.params_b, weights.dimensions if shape == "known" else None)
    need = least_local_training_memory(size, Adapter.FULL, method, NUMBERS)
    assert need is not None and weights.params_b is not None
    copies = [gib for name, gib in need.components_gib.items() if "reference" in name]
    assert copies == [pytest.approx(weights.params_b * 4e9 / 2**30, rel=0.01)]
    adapter = least_local_training_memory(size, Adapter.LORA, method, NUMBERS)
    assert adapter is not None and not any("reference" in name for name in adapter.components_gib)
