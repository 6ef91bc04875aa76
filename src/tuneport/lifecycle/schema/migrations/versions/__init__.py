"""A file for each version of the store's tables."""
