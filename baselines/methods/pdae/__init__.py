"""PDAE (arXiv 2212.12990): a diffusion model that is there already, and an encoder that fills its gap."""
