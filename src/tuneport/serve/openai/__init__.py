"""Routes of OpenAI's API, below /v1."""
