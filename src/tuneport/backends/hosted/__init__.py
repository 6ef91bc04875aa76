"""The shared parts of hosted backends: the order of a job's life, errors, statuses, finding a job again."""
