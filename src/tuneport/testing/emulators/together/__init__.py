"""Together.ai as a server on this machine: files, jobs, weights, endpoints."""
