"""The report of a data check as a page, and the page to review flagged rows."""
