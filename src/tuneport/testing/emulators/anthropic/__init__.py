"""The emulator of Anthropic's Messages API."""
