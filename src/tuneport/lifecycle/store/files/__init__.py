"""Files: those at providers because of jobs (journal), those of the gateway's clients, and uploads in parts."""
