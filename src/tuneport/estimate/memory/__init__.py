"""The accelerator memory that a training run needs. Pure; two rules, and the estimate says which one it used.

`estimate_memory` follows the tensors that PyTorch keeps if the model's dimensions are known (`tensors`), and the table
of usual sizes if only its size is known. `sizing` answers the inverse: what fits which GPU.
"""

from tuneport.estimate.memory.estimate import GIB, MemoryEstimate, estimate_memory
from tuneport.estimate.memory.tensors import trained_parameters
from tuneport.estimate.memory.training_shape import ALL_LINEAR, TrainingShape

__all__ = ["ALL_LINEAR", "GIB", "MemoryEstimate", "TrainingShape", "estimate_memory", "trained_parameters"]
