"""Noise prediction for latents: the MLP with skip connections of DiffAE, which PDAE and DBAE use too.

    c     = W2 SiLU(W1 sinusoid(t)) + biases                              time_embed.{0,2}; c is as wide as z
    h_0   = z_t;   input of layer i:  h_0 for i = 0,  [h_i, z_t] for i >= 1
    h_i+1 = SiLU( LN( L_i(input) * (1 + E_i(SiLU(c))) ) )                 layers.i.{linear, linear_emb, norm}
    eps   = L_N-1([h_N-1, z_t])                                           the last layer is a bare linear map

Source: konpatp/diffae, model/latentnet.py (MLPSkipNet); ckczzj/PDAE, model/mlp_skip_net.py.

Published files hold every `linear_emb` tensor twice, once more as `cond_layers.1`: see `without_aliases`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from dbae.networks.blocks import sinusoidal_embedding
from dbae.support.errors import UserError

_ALIAS, _OWN = ".cond_layers.1.", ".linear_emb."


@dataclasses.dataclass(frozen=True)
class LatentMLPConfig:
    """Shape of the network.

    Attributes:
        latent_dim: length l of z.
        hidden: width of the hidden layers.
        layers: number of linear layers, the last one included: 10 for faces, 20 for DiffAE's LSUN latents.
        time_dim: width of the sinusoidal embedding of t.
        norm: layer normalisation in the hidden layers.
    """

    latent_dim: int = 512
    hidden: int = 2048
    layers: int = 10
    time_dim: int = 64
    norm: bool = True

    def __post_init__(self) -> None:
        for name, least in (("latent_dim", 1), ("hidden", 1), ("layers", 2), ("time_dim", 2)):
            if getattr(self, name) < least:
                raise ValueError(f"{name} must be {least} or more, found {getattr(self, name)}")


class HiddenLayer(nn.Module):
    """One row of the module docstring: the time scales before the norm and shifts nothing."""

    def __init__(self, c_in: int, config: LatentMLPConfig) -> None:
        super().__init__()
        self.linear = nn.Linear(c_in, config.hidden)
        self.linear_emb = nn.Linear(config.latent_dim, config.hidden)
        self.norm = nn.LayerNorm(config.hidden) if config.norm else nn.Identity()
        for linear in (self.linear, self.linear_emb):
            nn.init.kaiming_normal_(linear.weight, nonlinearity="relu")

    def forward(self, x: Float[Tensor, "b c_in"], c: Float[Tensor, "b l"]) -> Float[Tensor, "b hidden"]:
        """Features of x under the embedded time c."""
        return F.silu(self.norm(self.linear(x) * (1 + self.linear_emb(F.silu(c)))))


class LastLayer(nn.Module):
    """A linear map, whatever the time, under the key that the other layers give theirs."""

    def __init__(self, c_in: int, c_out: int) -> None:
        super().__init__()
        self.linear = nn.Linear(c_in, c_out)

    def forward(self, x: Float[Tensor, "b c_in"], c: Float[Tensor, "b l"]) -> Float[Tensor, "b c_out"]:
        """A linear map of x; c plays no part."""
        return self.linear(x)


class LatentMLP(nn.Module):
    """The network of the module docstring."""

    def __init__(self, config: LatentMLPConfig) -> None:
        super().__init__()
        self.config = config
        z = config.latent_dim
        self.time_embed = nn.Sequential(nn.Linear(config.time_dim, z), nn.SiLU(), nn.Linear(z, z))
        inner = [HiddenLayer(z + (config.hidden if i else 0), config) for i in range(config.layers - 1)]
        self.layers = nn.ModuleList([*inner, LastLayer(config.hidden + z, z)])

    def forward(self, z_t: Float[Tensor, "b l"], t: Int[Tensor, " b"]) -> Float[Tensor, "b l"]:
        """Predicted noise of z_t at steps t = 0 .. 999."""
        c = self.time_embed(sinusoidal_embedding(t.float(), self.config.time_dim))
        h = z_t
        for i, layer in enumerate(self.layers):
            h = layer(torch.cat([h, z_t], dim=1) if i else h, c)
        return h


def without_aliases(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A published state dict with each tied tensor once, as `linear_emb`; other keys stay as they are.

    Raises:
        UserError: the two copies of a tensor differ, which no program that ties them can have written.
    """
    out = {key: value for key, value in state.items() if _ALIAS not in key}
    for key, value in state.items():
        if _ALIAS not in key:
            continue
        own = key.replace(_ALIAS, _OWN)
        if own in out and not torch.equal(out[own], value):
            raise UserError(
                f"latent network: expected {own} and {key} to be one tensor under two keys, found different values. "
                "The file is damaged or was edited: copy or download it again."
            )
        out[own] = value
    return out


def config_of(state: Mapping[str, Tensor]) -> LatentMLPConfig:
    """The configuration of a state dict, read off its keys and shapes.

    Raises:
        UserError: a tensor that every such network has is missing.
    """
    first, time = "layers.0.linear.weight", "time_embed.0.weight"
    for key in (first, time):
        if key not in state:
            raise UserError(f"latent network: expected a tensor {key}, found none.")
    hidden, latent_dim = state[first].shape
    layers = len({key.split(".")[1] for key in state if key.startswith("layers.")})
    return LatentMLPConfig(latent_dim, hidden, layers, state[time].shape[1], norm="layers.0.norm.weight" in state)
