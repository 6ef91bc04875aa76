"""Intervals and tests that evaluations are decided by."""
