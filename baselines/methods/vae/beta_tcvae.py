"""beta-TCVAE: `baselines.methods.vae` with a weight on total correlation."""

from __future__ import annotations

from baselines.methods.vae import VAE, method_of_family


class BetaTCVAE(VAE):
    """See the module docstring."""


METHOD = method_of_family("beta_tcvae", "beta-TCVAE", BetaTCVAE)
