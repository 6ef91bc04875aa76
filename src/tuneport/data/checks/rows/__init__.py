"""Checks of one row at a time: refusals, languages, markup, loops, leftovers, personal data."""
