"""Checks of a whole dataset: duplicates, contradictions, hold-out overlap, lengths, classes, size."""
