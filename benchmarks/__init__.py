"""Measurements: one runnable module a family of tables (`python -m benchmarks.downstream --help`)."""
