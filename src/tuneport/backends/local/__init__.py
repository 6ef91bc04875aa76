"""The backend of this machine and its clusters: runs that train in child processes, and what answers for their
models."""
