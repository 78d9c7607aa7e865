"""Attribute prediction from latents: linear probes (Table 1)."""
