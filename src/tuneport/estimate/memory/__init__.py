"""How much accelerator memory a training run needs. Pure; two rules, and the estimate says which one it used.

`estimate_memory` follows the tensors that PyTorch keeps where the model's dimensions are known (`tensors`), and the
reference card's table of thumb where only its size is. `sizing` turns it round: what fits which GPU.
"""

from tuneport.estimate.memory.estimate import (
    CONTEXT_GIB,
    GIB,
    MemoryEstimate,
    estimate_memory,
    high_reserved_gib,
    rule_of_thumb,
)
from tuneport.estimate.memory.run import ALL_LINEAR, Run, examples_of
from tuneport.estimate.memory.tensors import (
    adapter_parameters,
    embedding_parameters,
    linear_parameters,
    saved_per_layer_token,
    trained_parameters,
)

__all__ = [
    "ALL_LINEAR",
    "CONTEXT_GIB",
    "GIB",
    "MemoryEstimate",
    "Run",
    "adapter_parameters",
    "embedding_parameters",
    "estimate_memory",
    "examples_of",
    "high_reserved_gib",
    "linear_parameters",
    "rule_of_thumb",
    "saved_per_layer_token",
    "trained_parameters",
]
