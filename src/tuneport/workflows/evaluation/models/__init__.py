"""The models of an evaluation: which they are, by which backend, at what price."""
