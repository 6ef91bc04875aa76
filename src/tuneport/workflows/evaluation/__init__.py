"""The parts of `tuneport eval`: held-out rows with their proof, models by their names, the answer cache, prices."""
