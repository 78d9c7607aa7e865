"""SB-VAE: the `bridge` and its bound, the `model` on images, the `method`; and in the `plane`, for a figure."""

from baselines.methods.sb_vae.method import METHOD, SBVAEOptions, loss, sized_as
from baselines.methods.sb_vae.model import SBVAE, SBVAEConfig

__all__ = ["METHOD", "SBVAE", "SBVAEConfig", "SBVAEOptions", "loss", "sized_as"]
