"""The `tuneport` command. `main` is its entry point; `commands/` has a file for each command, `views/` what they
print."""

OPEN_TO_OTHER_ROOMS = ("main",)
"""The files here that other rooms import: `python -m tuneport` runs the command."""
