"""The report of a data check as a page."""
