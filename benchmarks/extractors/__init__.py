"""Networks that look at images: FID's Inception, LPIPS, and the one of faces that comes with this package."""
