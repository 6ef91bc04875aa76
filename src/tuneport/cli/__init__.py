"""The `tuneport` command. `main` is its entry point; `commands/` has a file for each command, `views/` what they
print."""
