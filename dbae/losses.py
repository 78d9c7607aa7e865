"""Training objectives.

Bridge score matching (paper eq. 15, as released: a weighted error on x0 and nothing else):

    L = E_t E_eps  mean_pixels  w(t) ( D(x_t, t, x_T, z) - x0 )^2,      x_t = a_t x_T + b_t x0 + c_t eps

with z = Enc(x0), x_T = Dec(z), w = 1 / c_out^2. Gradients reach the encoder through z and through x_T, which
enters the loss both inside x_t and as an input of the network.
"""

from __future__ import annotations

import dataclasses

from jaxtyping import Float
from torch import Tensor

from dbae.model import DBAE
from dbae.noise import Noise


@dataclasses.dataclass(frozen=True)
class BridgeLoss:
    """Per-image results: `loss` is weighted and has a gradient; `mse` is the unweighted error, for the log."""

    loss: Float[Tensor, " b"]
    mse: Float[Tensor, " b"]


def bridge_loss(model: DBAE, x0: Float[Tensor, "b 3 s s"], t: Float[Tensor, " b"], *, noise: Noise) -> BridgeLoss:
    """The objective of the module docstring at given times.

    Args:
        x0: images in [-1, 1].
        t: times in [t_min, T].
        noise: draws the encoder's eps (b, l) if the model is stochastic, then the bridge's (b, 3, s, s).
    """
    bridge = model.config.bridge
    z = model.encode(x0, noise=noise)
    x_T = model.endpoint(z)
    x_t = bridge.sample(x0, x_T, t, noise.normal(x0.shape))
    error = (model.denoise(x_t, t, x_T, z) - x0).square().flatten(1)
    return BridgeLoss(loss=(bridge.weight(t)[:, None] * error).mean(1), mse=error.detach().mean(1))
