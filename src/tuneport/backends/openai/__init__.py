"""The backend of OpenAI's fine-tuning API, and of all that speak its wire format."""
