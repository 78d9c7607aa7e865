"""Reconstruction against network evaluations (Tables 2, 9, 10)."""
