"""The accelerator memory that a training run needs. Pure; two rules, and the estimate says which one it used.

`estimate_memory` follows the tensors that PyTorch keeps if the model's dimensions are known (`tensors`), and the table
of usual sizes if only its size is known. `sizing` answers the inverse: what fits which GPU.
"""

from tuneport.estimate.memory.estimate import (
    CONTEXT_GIB,
    GIB,
    MemoryEstimate,
    estimate_memory,
    high_reserved_gib,
    memory_rule_of_thumb,
)
from tuneport.estimate.memory.tensors import (
    adapter_parameters,
    embedding_parameters,
    linear_parameters,
    saved_per_layer_token,
    trained_parameters,
)
from tuneport.estimate.memory.training_shape import ALL_LINEAR, TrainingShape

__all__ = [
    "ALL_LINEAR",
    "CONTEXT_GIB",
    "GIB",
    "MemoryEstimate",
    "TrainingShape",
    "adapter_parameters",
    "embedding_parameters",
    "estimate_memory",
    "high_reserved_gib",
    "linear_parameters",
    "memory_rule_of_thumb",
    "saved_per_layer_token",
    "trained_parameters",
]
