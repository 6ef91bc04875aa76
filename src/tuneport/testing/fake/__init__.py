"""A backend without a provider: it plays jobs by a script, in a folder, for tests and demos."""
