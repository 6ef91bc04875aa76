"""The path from a client's request to a job, and from an ended job to its result files."""
