"""The training loop, its options, its folder."""
