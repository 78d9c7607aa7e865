"""Published tables again, from checkpoints and data."""
