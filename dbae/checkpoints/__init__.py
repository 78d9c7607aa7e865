"""Checkpoint files: our format, and those of other people's programs."""
