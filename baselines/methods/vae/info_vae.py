"""InfoVAE: `baselines.methods.vae` with MMD in the place of KL."""

from __future__ import annotations

from baselines.methods.vae import VAE, method_of_family


class InfoVAE(VAE):
    """See the module docstring."""


METHOD = method_of_family("info_vae", "InfoVAE", InfoVAE)
