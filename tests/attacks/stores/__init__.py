"""Stores whose bytes were damaged, as disks and half copied files do it."""
