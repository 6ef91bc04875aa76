"""The backend of Together.ai."""
