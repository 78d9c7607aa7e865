"""LCG-DM: a diffusion model under the code of a disentangling VAE that is there already (Kim et al. 2022, workshop).

    z = mu(x0) of a frozen VAE,    loss = mean_pixels (eps - eps_theta(x_t, t, z))^2

It is DiffAE whose encoder is another model's and learns nothing, so that z is disentangled as far as the VAE made it
so; what z leaves open, x_T and the diffusion model have to add. The VAE is a checkpoint of `baselines.methods.vae`, a
beta-TCVAE as a rule: its probes, TAD and factors are this model's.

DEVIATION: no program is public. The network is the shared trunk's, and the condition is not scaled while sampling.
"""

from __future__ import annotations

import dataclasses
from functools import partial
from pathlib import Path
from typing import Any

from jaxtyping import Float
from torch import Tensor

from baselines.method import Built, Load, Method, TrainingOptions
from baselines.methods import diffae
from baselines.methods.diffae import DiffAE, DiffAEConfig
from baselines.methods.vae import VAE
from baselines.options import in_sizes
from dbae.networks.encoder import Encoder
from dbae.support.errors import UserError


@dataclasses.dataclass(frozen=True)
class LCGDMConfig(DiffAEConfig):
    """A DiffAE; `latent_dim` and `encoder` are the VAE's."""


class LCGDM(DiffAE):
    """An LCG-DM as a `RepresentationModel`. Its state dict is DiffAE's, with the encoder of a VAE.

    Args:
        config: architecture.
        name: name used in result rows.
    """

    def __init__(self, config: LCGDMConfig, *, name: str = "lcg_dm") -> None:
        super().__init__(config, name=name)
        outputs = 2 * config.latent_dim
        self.encoder = Encoder(config.encoder, image_size=config.image_size, outputs=outputs).requires_grad_(False)

    def posterior(self, x: Float[Tensor, "b 3 s s"]) -> tuple[Float[Tensor, "b l"], None]:
        """z, the mean that the VAE gives of images in [-1, 1]."""
        return self.encoder(x)[:, : self.latent_dim], None

    def train(self, mode: bool = True) -> LCGDM:
        """The encoder stays in evaluation mode."""
        super().train(mode)
        self.encoder.eval()
        return self


@dataclasses.dataclass(frozen=True)
class LCGDMOptions(TrainingOptions):
    """What LCG-DM has to be told.

    Attributes:
        pretrained: checkpoint of a VAE, whose encoder it takes: of beta_tcvae, or of another with a posterior.
    """

    pretrained: str | None = None

    def built(self, method: Method, config: Any, seed: int, name: str, load: Load) -> Built:
        """A fresh network under the encoder of the checkpoint.

        Raises:
            UserError: none is named, or it is no VAE for images of this size.
        """
        if self.pretrained is None:
            raise UserError(
                f"--method {method.key}: name the checkpoint of a VAE, whose encoder it takes, with --pretrained "
                "(python -m baselines.train --method beta_tcvae makes one)."
            )
        found = load(self.pretrained)
        vae = found.model
        if not isinstance(vae, VAE) or not vae.config.stochastic or vae.image_size != config.image_size:
            raise UserError(
                f"{self.pretrained}: expected a VAE of {config.image_size} px with a posterior, as beta_tcvae, found "
                f"{found.method or 'a model'} of {vae.image_size} px. Train one with --method beta_tcvae."
            )
        config = dataclasses.replace(config, latent_dim=vae.latent_dim, encoder=vae.config.encoder)
        model = method.fresh(config, seed, name)
        model.get_submodule("encoder").load_state_dict(vae.encoder.state_dict())
        return Built(model, {"pretrained": found.name, "method": found.method, "sha256": found.sha256})

    def shown(self) -> dict[str, str]:
        """The file name of `pretrained`."""
        return {} if self.pretrained is None else {"pretrained": Path(self.pretrained).name}


METHOD = Method(
    key="lcg_dm",
    label="LCG-DM",
    config=LCGDMConfig,
    model=LCGDM,
    loss=diffae.loss,
    presets=diffae.small_presets(partial(in_sizes, LCGDMConfig)),
    options=LCGDMOptions,
)
