"""Estimates for a job: hyperparameters, memory, time and money."""

OPEN_TO_OTHER_ROOMS = (
    "break_even",
    "cost",
    "cost.chat",
    "duration",
    "hyperparameters",
    "learning",
    "memory",
    "memory.sizing",
    "memory.traced",
)
"""The files here that other rooms import. The rest may change without a look elsewhere."""
