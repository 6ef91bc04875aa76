"""Views of results in a terminal, in a pipe and as JSON."""
