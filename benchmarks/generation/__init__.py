"""Distance of generated images from real ones, as distributions (Tables 4, 11)."""
