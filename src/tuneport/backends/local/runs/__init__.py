"""Training runs as folders and processes: started, watched, started again, ended."""
