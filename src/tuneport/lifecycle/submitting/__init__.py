"""The input of a submit: options of a job, flags, spec files."""
