"""Uses of the public names that a type checker reads; see `make lint`."""
