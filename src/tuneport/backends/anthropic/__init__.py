"""The backend of Anthropic's Messages API: Claude answers, judges and is compared with, and is never trained."""
