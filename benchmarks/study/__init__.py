"""The equal-compute study: every method on one trunk, for as much work, on the same images."""
