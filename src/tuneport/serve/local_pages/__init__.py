"""Pages for people on this machine: comparing answers (`tuneport rate`), and reviewing records (`tuneport review`)."""
