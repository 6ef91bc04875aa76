"""Estimates for a job: hyperparameters, memory, time and money."""

OPEN_TO_OTHER_ROOMS = (
    "batching",
    "break_even",
    "cost",
    "cost.chat",
    "duration",
    "hyperparameters",
    "learning",
    "memory",
    "memory.sizing",
    "memory.traced",
    "settling",
    "training_settings",
)
"""The files here that other rooms import. The rest may change without a look elsewhere."""
