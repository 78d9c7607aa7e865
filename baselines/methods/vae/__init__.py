"""AE, VAE, beta-VAE, beta-TCVAE and InfoVAE: one `model` and loss, and what tells the methods of the `family` apart."""

from baselines.methods.vae.family import METHOD, VAEOptions, config_of, method_of_family
from baselines.methods.vae.model import VAE, VAEConfig, loss

__all__ = ["METHOD", "VAE", "VAEConfig", "VAEOptions", "config_of", "loss", "method_of_family"]
