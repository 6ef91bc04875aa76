"""The store: what is read from and written to the database: jobs, events, files, requests, tokens, the audit log."""
