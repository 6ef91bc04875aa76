"""Leaving a provider: what the account has, a copy of it, the same jobs elsewhere, and whether they are as good."""
