"""How much reconstructions of one image differ (Figures 3, 10)."""
