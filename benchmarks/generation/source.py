"""Where generated images come from: a model, a source of z, a source of x_T and a sampler.

    unconditional   z ~ the checkpoint's prior, or that of --prior          image i is a function of (seed, i)
    "+AE"           z = encode(another real image)                          of (seed, index in the data set)

x_T is what the model decodes from z or draws ("own"), N(0, I) in any case ("random"), or one or the other: decoded with
probability lambda (`DBAE.draw_endpoint`), a number. Images become bytes by rounding to the nearest.
Sources: DBAE paper Tables 4 and 11; C.1, D.3 and eq. 101.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from baselines.interface import LoadedModel, Prior, RepresentationModel, weights_digest
from benchmarks.generation.distribution import SMALLEST
from benchmarks.generation.generated import Made
from benchmarks.subjects import cells_of, decodes_at_once, sampler_columns
from dbae.data import ImageDataset
from dbae.decoding import decoded_by
from dbae.images import naming, to_float, to_uint8
from dbae.noise import PerImageNoise, mixed_seed
from dbae.samplers import SamplerConfig
from dbae.support.errors import UserError
from dbae.support.precision import Precision, autocast

STORE_VERSION = 1
"""Part of the key of generated images; raised when the way they are made from a model changes."""

ProtocolName = Literal["paper", "standard"]
Mode = Literal["prior", "ae"]
Endpoint = Literal["own", "random"] | float


@dataclasses.dataclass(frozen=True)
class Images:
    """The real images of a run: a random order of one split, the same for every model.

    Attributes:
        order: its first `n` are what generated images are compared with; models encode from its end.
    """

    dataset: ImageDataset
    split: str
    order: np.ndarray
    n: int

    @classmethod
    def of(cls, dataset: ImageDataset, split: str, n: int, seed: int) -> Images:
        """Files are often sorted by what they show, so the first n would be no fair sample.

        Raises:
            UserError: no such split, or too few images for the metrics.
        """
        indices = dataset.split(split)
        if min(len(indices), n) < SMALLEST:
            raise UserError(
                f"{dataset.name}: expected {SMALLEST} or more images, found {len(indices)} in split {split}, of which "
                f"{n} were asked for. Raise -n or --limit, or choose another --split."
            )
        order = np.random.default_rng(mixed_seed(seed, "real images")).permutation(indices)
        return cls(dataset, split, order, n)

    @property
    def real(self) -> np.ndarray:
        """Indices of the real images that are compared with, int64 (n,)."""
        return self.order[: self.n]

    @property
    def others(self) -> np.ndarray:
        """The n images that models encode: those farthest from `real`, which they meet only where 2 n are not there."""
        return self.order[::-1][: self.n]

    @property
    def unseen(self) -> np.ndarray:
        """Those of `others` that are not in `real`."""
        return self.order[self.n :][::-1][: self.n]


@dataclasses.dataclass(frozen=True)
class Generation:
    """One way of generating: where z and x_T come from, and the sampler."""

    mode: Mode
    protocol: ProtocolName
    x_T: Endpoint
    sampler: SamplerConfig


class Source:
    """A model that generates.

    Args:
        loaded: the model; moved to `device`.
        prior: distribution of z for mode "prior"; None leaves that mode out.
        images: what mode "ae" encodes.
        seed: of z, x_T and the samplers' noise.
    """

    def __init__(
        self,
        loaded: LoadedModel,
        prior: Prior | None,
        images: Images,
        *,
        seed: int,
        precision: Precision,
        device: torch.device,
    ) -> None:
        self.loaded, self.prior, self.images = loaded, prior, images
        self.model: RepresentationModel = loaded.model
        self.seed, self.precision, self.device = seed, precision, device
        for module in (self.model, prior):
            if isinstance(module, nn.Module):
                module.to(device).eval()

    def count(self, setting: Generation) -> int:
        """Images to generate: as many as asked for, but no real one is encoded twice."""
        return self.images.n if setting.mode == "prior" else len(self.images.others)

    def columns(self, setting: Generation) -> dict[str, Any]:
        """The cells of a record that say how images are generated."""
        return cells_of(self.loaded) | {
            "protocol": setting.protocol,
            "z": self._z(setting),
            "x_T": self._endpoint(setting),
            "seed": str(self.seed),
            "precision": self.precision,
            **sampler_columns(setting.sampler, bridge=not decodes_at_once(self.model)),
        }

    def card(self, setting: Generation) -> dict[str, Any]:
        """All that determines the images (`benchmarks.generation.generated`)."""
        card: dict[str, Any] = {
            "model": self._model_key,
            "z": self._z(setting),
            "x_T": self._endpoint(setting),
            "sampler": setting.sampler.card,
            "seed": self.seed,
            "precision": self.precision,
            "version": STORE_VERSION,
        }
        if setting.mode == "ae":
            card["data"] = f"{self.images.dataset.fingerprint} {self.images.split}"
        return card

    @torch.inference_mode()
    def make(self, setting: Generation, positions: np.ndarray) -> Made:
        """The images at `positions` of a setting."""
        z, keys, encode_nfe = (self._drawn if setting.mode == "prior" else self._encoded)(setting, positions)
        names = [f"{self.loaded.name}: generated image {i}" for i in positions]
        with naming(names), autocast(self.device, self.precision):
            x_T = self._x_T(setting, z, self._noise(keys, "x_T"))
            noise = self._noise(keys, "sample")
            decoded = decoded_by(self.model, z, x_T=x_T, sampler=setting.sampler, noise=noise)
            pixels = to_uint8(decoded.images.float())
        return Made(pixels, decoded.nfe, encode_nfe)

    def _drawn(self, setting: Generation, positions: np.ndarray) -> tuple[Tensor, np.ndarray, int]:
        assert self.prior is not None
        drawn = self.prior.sample(self._noise(positions, "prior"), len(positions))
        return drawn.z.to(self.device), positions, drawn.nfe

    def _encoded(self, setting: Generation, positions: np.ndarray) -> tuple[Tensor, np.ndarray, int]:
        indices = self.images.others[positions]
        x = to_float(self.images.dataset.batch(indices).to(self.device))
        noise = self._noise(indices, "encode") if self._draws(setting) else None
        with autocast(self.device, self.precision):
            z = self.model.encode(x, noise=noise)
        return z.float(), indices, self.model.encode_nfe

    def _draws(self, setting: Generation) -> bool:
        """Whether z is drawn from the posterior, as the released program always does."""
        return setting.protocol == "paper" and self._stochastic

    def _z(self, setting: Generation) -> str:
        if setting.mode == "prior":
            return f"prior {self._prior_key}"
        return "sampled" if self._draws(setting) else "mean"

    @functools.cached_property
    def _stochastic(self) -> bool:
        x = to_float(self.images.dataset.batch(self.images.order[:1]).to(self.device))
        with torch.inference_mode():
            return self.model.posterior(x)[1] is not None

    @functools.cached_property
    def _model_key(self) -> str:
        return self.loaded.key(self.model)

    @functools.cached_property
    def _prior_key(self) -> str:
        """Of the prior's weights, where it has some, and of how it is sampled."""
        weights = weights_digest(self.prior) if isinstance(self.prior, nn.Module) else ""
        about = f"{type(self.prior).__name__} {getattr(self.prior, 'sampling', '')} {weights}"
        return hashlib.sha256(about.encode()).hexdigest()[:8]

    def _endpoint(self, setting: Generation) -> str:
        """The column x_T."""
        if isinstance(setting.x_T, float):
            return f"blend {setting.x_T:g}"
        return "random" if setting.x_T == "random" else self.model.endpoints[0]

    def _x_T(self, setting: Generation, z: Tensor, noise: PerImageNoise) -> Tensor | None:
        """None where the model has its own way."""
        if isinstance(setting.x_T, float):
            return self.model.draw_endpoint(z, noise, blend=setting.x_T)  # type: ignore[attr-defined]
        if self._endpoint(setting) == self.model.endpoints[0]:
            return None
        return noise.normal((len(z), 3, self.model.image_size, self.model.image_size))

    def can_start_at(self, x_T: Endpoint) -> bool:
        """Whether the model knows this way to x_T."""
        return not isinstance(x_T, float) or hasattr(self.model, "draw_endpoint")

    def _noise(self, keys: np.ndarray, stream: str) -> PerImageNoise:
        return PerImageNoise(self.seed, keys, stream=stream, device=self.device)
