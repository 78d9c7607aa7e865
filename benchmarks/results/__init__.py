"""Measured numbers: the record, its files, and what two of them differ by."""
