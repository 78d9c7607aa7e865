"""The methods of the family: what each weighs, what the command line may say, and presets on the sizes of DiffAE's."""

from __future__ import annotations

import dataclasses
from typing import Any

from baselines.method import Method
from baselines.methods.ddim import NormalPrior
from baselines.methods.diffae import DiffAEConfig, small_presets
from baselines.methods.vae.model import VAE, Family, Likelihood, VAEConfig, Weights, loss
from baselines.options import ConfigOptions, differences, in_sizes

_OBJECTIVES: dict[Weights, dict[Family, dict[str, Any]]] = {
    "published": {
        "ae": dict(stochastic=False, likelihood="mean", beta=0.0),
        "vae": dict(likelihood="mean"),
        "beta_vae": dict(likelihood="mean", capacity=25.0, capacity_images=100_000),
        "beta_tcvae": dict(likelihood="bernoulli", tc=6.0),
        "info_vae": dict(likelihood="mean", beta=0.0, mmd=0.1),
    },
    "calibrated": {
        "ae": dict(stochastic=False, beta=0.0),
        "vae": dict(),
        "beta_vae": dict(beta=4.0),
        "beta_tcvae": dict(tc=6.0),
        "info_vae": dict(beta=0.0, mmd=1000.0),
    },
}
"""Calibrated InfoVAE has lambda = 1000 of Zhao et al. 2019 for MNIST, beside a sum over pixels, as quoted in issue 1 of
`zacheberhart/Maximum-Mean-Discrepancy-Variational-Autoencoder`. There alpha = 0, which keeps KL; here MMD stands alone,
as in the authors' program: 10 MMD beside a mean over 784 pixels, 7840 beside their sum (mmd_vae_eval.py of
`ShengjiaZhao/MMD-Variational-Autoencoder`). Over how many images C rises is not published."""


def config_of(family: Family, sizes: DiffAEConfig | VAEConfig, weights: Weights = "calibrated") -> VAEConfig:
    """The configuration of a method of the family on the trunk of `sizes`."""
    return in_sizes(VAEConfig, sizes, family=family, weights=weights, **_OBJECTIVES[weights][family])


@dataclasses.dataclass(frozen=True)
class VAEOptions(ConfigOptions):
    """What the family can be told. None keeps what `weights` mean.

    Attributes:
        weights: calibrated: a Gaussian likelihood beside the terms about z. published: as the published rows, with a
            mean over pixels beside a sum over z.
        likelihood: the distribution of an image given z; learned is a Gaussian whose variance is trained.
        variance: variance of a pixel under the Gaussian likelihood.
        beta: weight in the loss of the KL divergence of z from N(0, I).
        capacity: nats that the KL divergence is drawn to, instead of to 0.
        capacity_images: training images over which the capacity rises from 0.
        tc: weight of the total correlation of z in the loss; 1 is that of a plain VAE.
        mmd: weight of the maximum mean discrepancy between z and N(0, I) in the loss.
    """

    weights: Weights = "calibrated"
    likelihood: Likelihood | None = None
    variance: float | None = None
    beta: float | None = None
    capacity: float | None = None
    capacity_images: int | None = None
    tc: float | None = None
    mmd: float | None = None

    def configured(self, config: Any) -> Any:
        """The preset as this member of the family with these weights, then what was given beside."""
        return super().configured(config_of(config.family, config, self.weights))


def _variant(config: VAEConfig) -> str:
    """Its weights, and what is not theirs."""
    name = {"calibrated": "calibrated", "published": "as published"}[config.weights]
    changed = differences(config, config_of(config.family, config, config.weights))
    return f"{name}, {changed}" if changed else name


def method_of_family(family: Family, label: str, model: type[VAE]) -> Method:
    """A row of the family; each has a class of its own, by which it is known."""
    return Method(
        key=family,
        label=label,
        config=VAEConfig,
        model=model,
        loss=loss,
        presets=small_presets(lambda config: config_of(family, config)),
        options=VAEOptions,
        variant=_variant,
        prior=lambda model: NormalPrior(model.latent_dim) if model.config.stochastic else None,
        least=lambda config: 2 if config.tc != 1 else 1,
    )


METHOD = method_of_family("vae", "VAE", VAE)
