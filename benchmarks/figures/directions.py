"""Directions in the space of z along which an attribute grows: trained here, kept in a file, or published.

A direction is the weight w of a linear map of standardised z, (z - mean) / std: logistic regression of a binary
attribute, ridge regression of a continuous one (scikit-learn's, strength 1). In an .npz: `weight`, `mean` and `std`
float32 (l,), and `attribute`, `about` and `checkpoint_sha256` str (1,). DiffAE, PDAE and DBAE publish classifiers of
CelebA's 40 attributes; where mean and std stand neither in that file nor beside the model, w is applied to z as it is.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from baselines.load import LoadedModel, load_classifier
from benchmarks.downstream.solver import standardisation
from benchmarks.subjects import encoder_of
from dbae.data import Attributes, ImageDataset
from dbae.data.faces.attributes import BINARY_NAMES
from dbae.latents import LatentCache
from dbae.support.arrays import array_file, read_npz
from dbae.support.errors import UserError

CELEBA = (*BINARY_NAMES[:2], "Attractive", *BINARY_NAMES[2:])
"""CelebA's 40 attributes in their order; 39 of them are drawn."""


_KEPT = {"weight", "mean", "std", "attribute", "about", "checkpoint_sha256"}
"""The arrays of a file."""


@dataclasses.dataclass(frozen=True)
class Direction:
    """w of standardised z.

    Attributes:
        weight, mean, std: of the model's latent length l, float32.
        attribute: what grows along it; about: where it comes from, a sentence.
    """

    weight: Float[Tensor, " l"]
    mean: Float[Tensor, " l"]
    std: Float[Tensor, " l"]
    attribute: str
    about: str

    def to(self, device: torch.device) -> Direction:
        """The same on a device."""
        moved = {name: getattr(self, name).to(device) for name in ("weight", "mean", "std")}
        return dataclasses.replace(self, **moved)


def train(
    loaded: LoadedModel, dataset: ImageDataset, attribute: str, cache: LatentCache, *, limit: int = 2000
) -> Direction:
    """The direction of an attribute of a labelled data set.

    It is fitted to the first `limit` images of split "train", and its note says how well it predicts the attribute of
    up to as many of split "test"; without such splits, every fifth image is one of the latter.

    Raises:
        UserError: no such attribute, or one that is the same in all of these images.
    """
    labels = _labels(dataset, attribute)
    everything = np.arange(len(dataset))
    if {"train", "test"} <= dataset.splits.keys():
        parts = dataset.splits["train"], dataset.splits["test"]
    else:
        parts = everything[everything % 5 > 0], everything[everything % 5 == 0]
    fitted, held_out = (part[:limit] for part in parts)
    if min(len(fitted), len(held_out)) < 2 or np.ptp(labels[fitted]) == 0:
        raise UserError(
            f"{attribute}: expected different labels among the {len(fitted)} training images of {dataset.name}, found "
            "none. Raise --limit, or name another --data or --attribute."
        )
    encoder = encoder_of(loaded.model, loaded.name, loaded, cache.device)
    z, z_test = (cache.get(encoder, dataset, part).mean() for part in (fitted, held_out))
    mean, scale = standardisation(z)
    weight = _fit(((z - mean) * scale).numpy(), labels[fitted])
    score = _score(((z_test - mean) * scale).numpy() @ weight, labels[held_out])
    about = f"{attribute}: from {len(fitted)} images of {dataset.name}; {score} on {len(held_out)} others."
    std = torch.where(scale > 0, 1 / scale.clamp(min=1e-30), 1.0)
    return Direction(torch.from_numpy(weight).float(), mean.float(), std.float(), attribute, about)


def _labels(dataset: ImageDataset, attribute: str) -> np.ndarray:
    found = dataset.attributes or Attributes((), np.empty((0, 0), np.int8), (), np.empty((0, 0)))
    if attribute in found.binary_names:
        return found.binary[:, found.binary_names.index(attribute)]
    if attribute in found.continuous_names:
        return found.continuous[:, found.continuous_names.index(attribute)]
    there = ", ".join((*found.binary_names, *found.continuous_names)) or "no labels"
    raise UserError(f"--attribute {attribute}: expected one of {dataset.name}, which has {there}.")


def _is_binary(labels: np.ndarray) -> bool:
    return labels.dtype == np.int8


def _fit(x: np.ndarray, labels: np.ndarray) -> Float[np.ndarray, " l"]:
    from sklearn.linear_model import LogisticRegression, Ridge

    if _is_binary(labels):
        return LogisticRegression(C=1.0, max_iter=1000).fit(x, labels).coef_[0]
    return Ridge(alpha=1.0).fit(x, (labels - labels.mean()) / labels.std()).coef_


def _score(predicted: np.ndarray, labels: np.ndarray) -> str:
    from sklearn.metrics import average_precision_score

    if _is_binary(labels) and not labels.any():
        return "AP n/a, for none has it,"
    if _is_binary(labels):
        return f"AP {average_precision_score(labels, predicted):.3f} (by chance {labels.mean():.3f})"
    if not np.ptp(labels) or not np.ptp(predicted):
        return "r n/a, for all are one,"
    return f"r {np.corrcoef(predicted, labels)[0, 1]:.3f}"


def require_free(path: Path) -> None:
    """Raise UserError unless a direction can be written under this name: nothing is there, or a direction."""
    if path.suffix != ".npz":
        raise UserError(f"--save-direction {path}: expected a name that ends in .npz. Choose another.")
    if path.exists() and (read_npz(path) or {}).keys() != _KEPT:
        raise UserError(
            f"--save-direction {path}: expected no file or a direction, found another. Choose another name."
        )


def save(direction: Direction, path: Path, checkpoint_sha256: str) -> None:
    """Write a direction.

    Raises:
        UserError: the file cannot be written.
    """
    with array_file(path) as file:
        for name in ("weight", "mean", "std"):
            file.append(name, getattr(direction, name).cpu().numpy())
        file.append_texts("attribute", [direction.attribute])
        file.append_texts("about", [direction.about])
        file.append_texts("checkpoint_sha256", [checkpoint_sha256])


def load(path: Path, loaded: LoadedModel) -> Direction:
    """Read a direction that `save` wrote.

    Raises:
        UserError: no such file, or one for other latents.
    """
    vector = ("float32", (loaded.model.latent_dim,))
    arrays = read_npz(path)
    if arrays is None or not arrays.keys() >= _KEPT:
        raise UserError(f"--direction {path}: expected what --save-direction wrote, found none. Check the path.")
    if str(arrays["checkpoint_sha256"][0]) != loaded.sha256 or arrays["weight"].shape != vector[1]:
        raise UserError(
            f"--direction {path}: expected a direction in the z of {loaded.name}, found one of checkpoint "
            f"{str(arrays['checkpoint_sha256'][0])[:12]}. Train one with --attribute and --data."
        )
    weight, mean, std = (torch.from_numpy(arrays[name]) for name in ("weight", "mean", "std"))
    return Direction(weight, mean, std, str(arrays["attribute"][0]), str(arrays["about"][0]))


def of_classifier(path: str, attribute: str, loaded: LoadedModel) -> Direction:
    """The direction of one of CelebA's attributes in a published classifier.

    Raises:
        UserError: no classifier, one for other latents, or no such attribute.
    """
    found = load_classifier(path)
    count, length = found.weight.shape
    if length != loaded.model.latent_dim or count != len(CELEBA) or attribute not in CELEBA:
        raise UserError(
            f"--direction {path}: expected a classifier of CelebA's 40 attributes over the {loaded.model.latent_dim} "
            f"numbers of z of {loaded.name}, and one of its attributes, found {count} over {length}, and {attribute}."
        )
    statistics = found.statistics or loaded.statistics
    mean, std = (statistics.mean, statistics.std) if statistics else (torch.zeros(length), torch.ones(length))
    about = f"{attribute}: of the classifier {Path(path).name}, {'' if statistics else 'not '}standardised."
    return Direction(found.weight[CELEBA.index(attribute)], mean, std, attribute, about)
