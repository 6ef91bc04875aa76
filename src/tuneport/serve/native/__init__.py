"""Routes of tuneport's own API, below /tuneport/v1."""
