"""The report of an evaluation: one page to attach to a pull request."""
