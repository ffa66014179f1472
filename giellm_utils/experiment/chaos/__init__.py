"""Kills at random moments, and whether the end is that of an unbroken run: `make chaos`."""
