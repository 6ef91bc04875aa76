"""Documents of jobs for clients: in OpenAI's format and in tuneport's own."""
