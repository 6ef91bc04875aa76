"""The parts of a plan: the model's shape, the run on a GPU, the GPUs that hold it, the methods compared, the words of
each backend."""
