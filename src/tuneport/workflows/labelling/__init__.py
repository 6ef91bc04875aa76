"""Answers of a large model for records: what it is asked, and what becomes of its answers."""
