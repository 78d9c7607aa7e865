"""beta-VAE: `baselines.methods.vae` with a weight on KL, or as published a capacity for it."""

from __future__ import annotations

from baselines.methods.vae import VAE, method_of_family


class BetaVAE(VAE):
    """See the module docstring."""


METHOD = method_of_family("beta_vae", "beta-VAE", BetaVAE)
