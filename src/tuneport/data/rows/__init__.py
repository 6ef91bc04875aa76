"""One row of a dataset: records, text, JSON as people write it."""
