"""Finds rows that are nearly the same, and remembers which lines a check has flagged."""
