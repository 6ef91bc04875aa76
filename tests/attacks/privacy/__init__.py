"""Other users of the machine: who looks at a home while tuneport works in it, and who tries to read it."""
