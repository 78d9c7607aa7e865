"""An encoder that is told a time: what it looks for in an image may depend on the noise that its code is to explain.

    Enc(x, t): as `dbae.networks.encoder`, and after every input block h + W_i SiLU( time_embed( sinusoid(t) ) ) + b_i

W_i and b_i start at zero, so that a fresh encoder is that of the same weights without a time.
"""

from __future__ import annotations

import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from dbae.networks.blocks import sinusoidal_embedding, zero_init
from dbae.networks.encoder import Encoder, EncoderConfig


class TimeEncoder(Encoder):
    """Enc of the module docstring, `outputs` numbers an image; arguments as `Encoder`'s."""

    def __init__(self, config: EncoderConfig, *, image_size: int, outputs: int) -> None:
        super().__init__(config, image_size=image_size, outputs=outputs)
        self.base = config.base
        width = 4 * config.base
        self.time_embed = nn.Sequential(nn.Linear(config.base, width), nn.SiLU(), nn.Linear(width, width))
        self.time_layers = nn.ModuleList(
            zero_init(nn.Linear(width, _channels(block[0])))  # type: ignore[index]
            for block in self.input_blocks
        )

    def forward(self, x: Float[Tensor, "b 3 s s"], t: Int[Tensor, " b"] | None = None) -> Float[Tensor, "b o"]:
        """Times are 0 .. 999.

        Raises:
            ValueError: no time.
        """
        if t is None:
            raise ValueError("this encoder is told a time: pass t")
        e = F.silu(self.time_embed(sinusoidal_embedding(t.float(), self.base)))
        for block, layer in zip(self.input_blocks, self.time_layers, strict=True):
            x = block(x) + layer(e)[:, :, None, None]
        return self.out(self.middle_block(x))


def _channels(layer: nn.Module) -> int:
    """Channels that the first layer of an input block puts out."""
    return (layer if isinstance(layer, nn.Conv2d) else layer.in_layers[2]).out_channels  # type: ignore[index,union-attr]
