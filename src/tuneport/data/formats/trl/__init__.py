"""TRL's dataset types."""
