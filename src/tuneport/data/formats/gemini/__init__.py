"""Google's Gemini contents."""
