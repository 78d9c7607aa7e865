"""Latent networks with the weights of the golden data, and a prior small enough for tests of files and loops."""

from __future__ import annotations

import torch
from golden_fill import fill
from torch import Tensor

from dbae.networks.latent_mlp import LatentMLP, LatentMLPConfig
from dbae.prior import LatentPrior, LatentSampling


def filled_mlp(config: LatentMLPConfig, *, hashed: str) -> LatentMLP:
    """Rule G of golden/dbae/README.md. `hashed`: under which of a tied tensor's two names its values were drawn."""
    with torch.device("meta"):
        network = LatentMLP(config)

    def name(key: str) -> str:
        return key.replace("linear_emb", hashed)

    values: dict[str, Tensor] = fill({name(key): value for key, value in network.state_dict().items()})
    network.load_state_dict({key: values[name(key)] for key in network.state_dict()}, assign=True)
    return network.eval()


def filled_prior(config: LatentMLPConfig, sampling: LatentSampling, *, hashed: str) -> LatentPrior:
    """A prior with the network of `filled_mlp`, mean 0 and standard deviation 1."""
    prior = LatentPrior(config, sampling=sampling)
    prior.network = filled_mlp(config, hashed=hashed)
    return prior.eval()


def small_prior() -> LatentPrior:
    """300 parameters, fresh weights; 20 steps."""
    with torch.random.fork_rng([]):
        torch.manual_seed(0)
        return LatentPrior(LatentMLPConfig(4, 8, 3, time_dim=8), name="small-prior", sampling=LatentSampling(20)).eval()
