"""What shows on a terminal while a command works: the bars of jobs and answers, and one line for all else."""
