"""The version of tuneport, on the ground floor: every room may name it."""

__version__ = "0.1.0"
