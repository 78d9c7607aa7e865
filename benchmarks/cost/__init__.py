"""Parameters, operations and times (Tables 5, 8)."""
