"""Counts tokens as each provider does."""
