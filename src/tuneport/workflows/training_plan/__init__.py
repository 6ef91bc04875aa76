"""The parts of a plan: the model's shape, the run on a GPU, the GPUs that hold it, the compared methods, each backend's
settings."""
