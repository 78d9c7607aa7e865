"""The autoencoder of `baselines.methods.vae`, without a posterior."""

from __future__ import annotations

from baselines.methods.vae import VAE, method_of_family


class AE(VAE):
    """See the module docstring."""


METHOD = method_of_family("ae", "AE", AE)
