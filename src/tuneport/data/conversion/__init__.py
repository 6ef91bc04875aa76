"""Converts datasets between formats, tells what a format cannot hold, and prepares files for a backend."""
