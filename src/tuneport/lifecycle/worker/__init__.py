"""Moves jobs on: prepares, submits once, polls, collects events and results, stops."""
