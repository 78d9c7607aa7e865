"""What a row is about: a model, or one of its controls, as a source of latents."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from baselines.interface import LoadedModel, RepresentationModel, weights_digest
from benchmarks.subjects.controls import pca_encoder, random_latents
from benchmarks.subjects.given import HasLatents
from dbae.data import ImageDataset
from dbae.latents import Encoder, LatentCache, Latents
from dbae.support.errors import UserError

Weights = Literal["trained", "untrained", "control"]

UNTRAINED_SEED = 0
"""Seed of the untrained encoder's weights. One encoder serves all probe seeds, as one checkpoint does."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Subject:
    """A source of latents and the cells that name it in a record.

    `latents(indices, seed, mirrored)` gives the latents of images `indices`; only random ones depend on the seed.
    `checkpoint_sha256` of an untrained encoder is the hash of its weights, so that two architectures are two controls.
    `encode_nfe` is what z costs where it is the endpoint that an inversion finds (DDIM), and 0 elsewhere.
    `at` says at which times z is, where they are not the model's own: "t=100 300".
    """

    model: str
    method: str = ""
    variant: str = ""
    train_data: str = ""
    weights: Weights = "control"
    checkpoint_sha256: str = ""
    latent_dim: int
    encode_nfe: int = 0
    at: str = ""
    latents: Callable[[np.ndarray, int, bool], Latents]

    @property
    def cells(self) -> dict[str, str | int]:
        """The columns of a record that this subject fills, but z."""
        names = (field.name for field in dataclasses.fields(self) if field.name not in ("latents", "encode_nfe", "at"))
        return {name: getattr(self, name) for name in names}

    def z_cells(self, z: str) -> dict[str, str | int]:
        """The columns that say what z is: "mean" or "sampled", as given, of an encoder."""
        if self.encode_nfe:
            return {"z": "inferred x_T", "encode_nfe": self.encode_nfe}
        return {"z": f"{z} at {self.at}" if self.at else z}


def subjects_of(loaded: LoadedModel, dataset: ImageDataset, train: np.ndarray, cache: LatentCache) -> list[Subject]:
    """The model itself and its controls: the same encoder untrained if it is known how, PCA of pixels, random latents.

    PCA is fitted to images `train`. Controls are computed when they are asked for. Of a model whose z is there already
    (`HasLatents`), nobody looks at an image: there is no PCA either.
    """
    d, model = loaded.model.latent_dim, loaded.model
    kept = model if isinstance(model, HasLatents) else None

    def encoded(encoder: Encoder) -> Callable[[np.ndarray, int, bool], Latents]:
        return lambda indices, seed, mirrored: cache.get(encoder, dataset, indices, mirrored=mirrored)

    def pca(indices: np.ndarray, seed: int, mirrored: bool) -> Latents:
        return encoded(components())(indices, seed, mirrored)

    @functools.cache
    def components() -> Encoder:
        return pca_encoder(dataset, train, d, folder=cache.folder, workers=cache.workers)

    subjects = [
        Subject(
            model=loaded.name,
            method=loaded.method,
            variant=loaded.variant,
            train_data=loaded.train_data,
            weights=loaded.weights,
            checkpoint_sha256=loaded.sha256,
            latent_dim=d,
            encode_nfe=loaded.model.encode_nfe,
            latents=(lambda indices, seed, mirrored: kept.latents(indices))
            if kept
            else encoded(encoder_of(model, loaded.name, loaded, cache.device)),
        ),
        Subject(model="random", latent_dim=d, latents=lambda indices, seed, mirrored: random_latents(indices, d, seed)),
    ]
    if kept is None:
        subjects.insert(
            1, Subject(model="pca", latent_dim=min(d, max(1, len(train) - 1), 3 * dataset.size**2), latents=pca)
        )
    if loaded.untrained is not None:
        untrained = loaded.untrained(UNTRAINED_SEED)
        control = Subject(
            model="untrained",
            method=loaded.method,
            variant=loaded.variant,
            checkpoint_sha256=_digest(untrained),
            latent_dim=d,
            encode_nfe=untrained.encode_nfe,
            latents=encoded(encoder_of(untrained, "untrained", loaded, cache.device)),
        )
        subjects.insert(1, control)
    return subjects


def encoder_of(model: RepresentationModel, name: str, loaded: LoadedModel, device: torch.device) -> Encoder:
    """The model's posterior on `device`, keyed by its weights and by what computes with them."""
    inversion = f" {model.encode_nfe} evaluations" if model.encode_nfe else ""
    key = f"{loaded.key(model)}{inversion}"
    if isinstance(model, nn.Module):
        model.to(device).eval()
    return Encoder(functools.partial(_posterior, model, name), key, name)


def _posterior(model: RepresentationModel, name: str, x: Tensor) -> tuple[Tensor, Tensor | None]:
    """Raises UserError where a model of somebody's own answers something else than it says of itself."""
    found: Any = model.posterior(x)
    if not isinstance(found, tuple) or len(found) != 2:
        raise UserError(
            f"{name}: expected posterior(x) to give the mean of z and its standard deviation or None, found "
            f"{type(found).__name__}. Return a pair."
        )
    if tuple(found[0].shape) != (len(x), model.latent_dim):
        raise UserError(
            f"{name}: expected posterior(x) to give latent_dim = {model.latent_dim} numbers of each image, "
            f"found {tuple(found[0].shape)} of {len(x)}. Correct latent_dim, or what is returned."
        )
    return found


def _digest(model: RepresentationModel) -> str:
    return weights_digest(model) if isinstance(model, nn.Module) else LoadedModel.of(model).sha256
