"""The networks of PDAE: a U-Net with a second, conditioned way up, and a small convolutional encoder.

    e           = time_embed( sinusoid(t) ),   e_z = label_emb(z)
    skips       = input_blocks(x; e)
    eps(x, t)   = out( output_blocks( middle_block( skips[-1] ), skips; e ) )                             frozen
    G(x, t, z)  = shift_out( shift_output_blocks( shift_middle_block( skips[-1] ), skips; e, e_z ) )      trained

The first three lines are a noise-predicting U-Net trained beforehand, and stay what they were. G shifts the mean of
its reverse process towards the image that z stands for; z enters by scale and shift in every block of its own branch.
Both ways up read the same skips, so that one evaluation of the network gives eps and G.

The encoder is a chain of 3x3 convolutions of stride 2, down to 4x4:

    z = Linear( SiLU( GN( ... conv( SiLU( GN( conv(x) ) ) ) ) ) )         self-attention after the map of 16x16

Keys and sizes: ckczzj/PDAE, model/shift_unet.py and model/representation_learning/encoder/*.py; their `emb_z_layers`
is `latent_layers` here.
"""

from __future__ import annotations

import dataclasses

from jaxtyping import Float, Int
from torch import Tensor, nn

from dbae.networks.blocks import AttentionBlock, GroupNorm
from dbae.networks.trunk import Layers, Trunk, UNetConfig, climb

FROZEN = ("time_embed", "input_blocks", "middle_block", "output_blocks", "out")
"""Parts of `ShiftUNet` that belong to the pre-trained network."""


class ShiftUNet(Trunk):
    """eps and G of the module docstring.

    The parts named in `FROZEN` need no gradient and stay in evaluation mode. The others start with fresh weights and
    zeroed last convolutions, so that G = 0 at first: nothing is copied from the pre-trained network.

    Args:
        config: layer sizes of the pre-trained network, repeated by the second way up.
        image_size: side of the images, pixels.
        latent_dim: length of z.
        learn_sigma: the pre-trained network has three more outputs, for a variance, which nobody reads.
    """

    def __init__(self, config: UNetConfig, *, image_size: int, latent_dim: int, learn_sigma: bool = False) -> None:
        layers = Layers(config, image_size, nn.Conv1d)
        super().__init__(layers, out_channels=6 if learn_sigma else 3, embedded_latent=latent_dim)
        shift = dataclasses.replace(layers, latent=config.width, latent_shift=True)
        self.shift_middle_block = shift.middle()
        self.shift_output_blocks = shift.up()
        self.shift_out = shift.head()
        for name in FROZEN:
            self.get_submodule(name).requires_grad_(False).eval()

    def train(self, mode: bool = True) -> ShiftUNet:
        """Training mode for the trained parts alone."""
        super().train(mode)
        for name in FROZEN:
            self.get_submodule(name).eval()
        return self

    def forward(
        self, x: Float[Tensor, "b 3 s s"], t: Int[Tensor, " b"], z: Float[Tensor, "b l"] | None = None
    ) -> tuple[Float[Tensor, "b o s s"], Float[Tensor, "b 3 s s"] | None]:
        """(eps, G) at times t = 0 .. 999; G is None without z, which saves its branch. o is 3, or 6 with variance."""
        e = self.embed(t.float())
        maps = self.down(x, e)
        eps = self.up(maps, e)
        return eps, None if z is None else self.shift(maps, e, z)

    def shift(self, maps: list[Tensor], e: Float[Tensor, "b e"], z: Float[Tensor, "b l"]) -> Float[Tensor, "b 3 s s"]:
        """G, from the maps on the way down."""
        # In training the last map is the first input of a group norm that needs a gradient and has none to pass on: on
        # the CPU, PyTorch (2.13) crashes there if the map is channels-last.
        maps = [*maps[:-1], maps[-1].contiguous()]
        return climb(self.shift_middle_block, self.shift_output_blocks, self.shift_out, maps, e, self.label_emb(z))


@dataclasses.dataclass(frozen=True)
class PDAEEncoderConfig:
    """Shape of the encoder.

    Attributes:
        widths: channels of each convolution; every one halves the map.
        attention_size: side of the map that self-attention follows.
        heads: attention heads.
        groups: groups of the group normalisation.
    """

    widths: tuple[int, ...]
    attention_size: int = 16
    heads: int = 4
    groups: int = 32


class PDAEEncoder(nn.Sequential):
    """The encoder of the module docstring: images in [-1, 1] -> z, not normalised.

    Raises (when called):
        ValueError: images of another size. The reference reshapes them into another number of codes.
    """

    def __init__(self, config: PDAEEncoderConfig, *, image_size: int, latent_dim: int) -> None:
        layers: list[nn.Module] = []
        channels, size = 3, image_size
        for width in config.widths:
            if layers:
                layers += [GroupNorm(config.groups, channels), nn.SiLU()]
            layers.append(nn.Conv2d(channels, width, 3, stride=2, padding=1))
            channels, size = width, size // 2
            if size == config.attention_size:
                layers.append(AttentionBlock(width, heads=config.heads, groups=config.groups, conv=nn.Conv1d))
        layers += [GroupNorm(config.groups, channels), nn.SiLU(), nn.Flatten()]
        super().__init__(*layers, nn.Linear(channels * size**2, latent_dim))
        self.image_size = image_size

    def forward(self, x: Float[Tensor, "b 3 s s"]) -> Float[Tensor, "b l"]:
        """z of images in [-1, 1]. Raises ValueError for another size, which its last layer would take and misread."""
        if x.shape[-1] != self.image_size:
            raise ValueError(f"the encoder takes images of {self.image_size} px, found {x.shape[-1]} px")
        return super().forward(x)
