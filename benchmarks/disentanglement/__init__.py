"""Disentanglement of latents: TAD, ATTRS, and metrics of known factors (Table 3, Figure 4)."""
