"""Portable fine-tuning: one dataset, one call, any backend."""

__version__ = "0.1.0"
