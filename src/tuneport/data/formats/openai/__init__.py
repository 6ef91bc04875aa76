"""OpenAI's chats, preferences and reinforcement rows."""
