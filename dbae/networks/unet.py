"""DBAE's score network: a U-Net that sees the endpoint beside the noisy image, and z through the time embedding.

    F(x, c_noise; x_T, z) = UNet( [x, x_T], time_embed(c_noise) + label_emb(z) )

State-dict keys are those of the published checkpoints (`aailab-kaist/DBAE`, ddbm/unet.py).
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from dbae.networks.trunk import Layers, Trunk, UNetConfig

__all__ = ["UNet", "UNetConfig"]


class UNet(Trunk):
    """The score network F; see the module docstring.

    Args:
        config: layer sizes.
        image_size: side of the images, pixels.
        latent_dim: length of z.
    """

    def __init__(self, config: UNetConfig, *, image_size: int, latent_dim: int) -> None:
        super().__init__(Layers(config, image_size, nn.Conv2d), in_channels=6, embedded_latent=latent_dim)

    def forward(
        self,
        x: Float[Tensor, "b 3 s s"],
        c_noise: Float[Tensor, " b"],
        x_T: Float[Tensor, "b 3 s s"],
        z: Float[Tensor, "b l"],
    ) -> Float[Tensor, "b 3 s s"]:
        """F of the module docstring; x is already scaled by c_in, x_T is not."""
        e = self.embed(c_noise) + self.label_emb(z)
        return self.up(self.down(torch.cat([x, x_T], dim=1), e), e)
