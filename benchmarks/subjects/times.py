"""z of a model, and of its untrained twin, at some of the times that their encoder is told."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from baselines.interface import LoadedModel
from benchmarks.subjects.subject import UNTRAINED_SEED, Subject, encoder_of
from dbae.data import ImageDataset
from dbae.interface import EncodesTimes
from dbae.latents import LatentCache, Latents


class AtTimes(NamedTuple):
    """A model whose encoder is told one of `steps` times: `at(times)`, which rise, is the subject whose z is that of
    these times side by side.
    """

    steps: int
    at: Callable[[Sequence[int]], Subject]


def subjects_at_times(
    loaded: LoadedModel, subjects: Sequence[Subject], dataset: ImageDataset, cache: LatentCache
) -> list[AtTimes]:
    """Of those of `subjects` that are told a time: the model first, then its untrained twin; none of another model.

    z of one time is encoded once and kept, whatever it stands beside.
    """
    models = {loaded.name: loaded.model}
    if loaded.untrained is not None:
        models["untrained"] = loaded.untrained(UNTRAINED_SEED)
    return [
        _at_times(model, next(s for s in subjects if s.model == name), loaded, dataset, cache)
        for name, model in models.items()
        if isinstance(model, EncodesTimes) and model.encoder_times
    ]


def _at_times(
    model: EncodesTimes, about: Subject, loaded: LoadedModel, dataset: ImageDataset, cache: LatentCache
) -> AtTimes:
    def encoded(t: int, indices: np.ndarray) -> Latents:
        encoder = encoder_of(model.at(t), f"{about.model} at t={t}", loaded, cache.device)
        return cache.get(encoder._replace(key=f"{encoder.key} at t={t}"), dataset, indices)

    def at(times: Sequence[int]) -> Subject:
        def latents(indices: np.ndarray, seed: int, mirrored: bool) -> Latents:
            found = [encoded(t, indices) for t in times]  # mirrored images are for protocol "paper", which has none
            return found[0] if len(found) == 1 else Latents(np.concatenate([z.array for z in found], axis=-1))

        text = f"t={' '.join(map(str, times))}"
        return dataclasses.replace(about, latent_dim=model.at(*times).latent_dim, at=text, latents=latents)

    return AtTimes(model.encoder_times, at)
