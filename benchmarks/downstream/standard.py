r"""Probes of protocol "standard": what can be read from z, and not how far an optimiser came.

    linear    logistic regression (binary) and ridge (continuous) at their optimum (`benchmarks.downstream.solver`)
    mlp       256 hidden ReLUs for all attributes of a kind, Adam(lr 1e-3), 50 epochs of batches of 128
    knn       mean of the targets of the k training images nearest in standardised z (Euclidean)

z is the posterior mean, standardised by mean and standard deviation of the training images; dimensions that do not vary
are left out. No mirroring: it turns "lit from the left" into its opposite. What is chosen on validation images, for
each attribute on its own:

    linear    the strength: C of 1e-4, 1e-3, ... 1e4 by AP; l of 1e2, 1e1, ... 1e-6 by MSE
    knn       k of 200, 100, 50, 20, 10, 5, 2, 1 by AP or MSE
    mlp       the epoch, one for all attributes of a kind, by the mean AP or r

Of equals the first, which is the more regular one. An attribute with one class only among the validation images has no
AP to choose by and takes C = 1 (scikit-learn's default) or k = 20. r and MSE are those of one map. r of a constant
prediction is 0 here, since it explains nothing, and AP of a constant score is the prevalence.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import torch
from jaxtyping import Float, Float32, Float64, Int64
from torch import Tensor, nn

from benchmarks.downstream import solver
from benchmarks.downstream.probe import (
    LOSSES,
    METRICS,
    Kind,
    Outcome,
    ProbeConfig,
    ProbeKind,
    Split,
    initial_head,
    scores,
    select_epoch,
    training_epochs,
)
from dbae.noise import mixed_seed

NEIGHBOURS = (200, 100, 50, 20, 10, 5, 2, 1)
HIDDEN = 256
MLP = ProbeConfig(epochs=50)
STRENGTHS: dict[Kind, tuple[float, ...]] = {"classification": solver.STRENGTHS, "regression": solver.PENALTIES}
DEFAULT_STRENGTH, _DEFAULT_NEIGHBOURS = solver.STRENGTHS.index(1.0), 20

log = logging.getLogger(__name__)


def run_standard(train: Split, val: Split, test: Split, *, kind: Kind, probe: ProbeKind, seed: int) -> list[Outcome]:
    """Fit on `train`, choose on `val`, measure on `test`: one outcome. `seed` is of the MLP's weights and batches."""
    if probe == "linear":
        return [run_linear(train, val, test, kind)]
    if probe == "knn":
        return [run_neighbours(train, val, test, kind)]
    return [run_mlp(train, val, test, kind, seed)]


class LinearFit:
    """The optimum of every strength, of all attributes of a kind."""

    def __init__(self, kind: Kind, z: Float32[Tensor, "n d"], targets: np.ndarray) -> None:
        self.kind, self.targets = kind, targets
        self.axes = solver.axes(z)
        self.x = self.axes(z)
        self.fits = (solver.logistic if kind == "classification" else solver.ridge)(self.x, targets)

    def predictions(self, z: Float32[Tensor, "n d"]) -> Iterator[Float64[np.ndarray, "n k"]]:
        """Of every strength, weakest fit first."""
        x = self.axes(z)
        return (self.fits.predictions(x, s) for s in range(len(STRENGTHS[self.kind])))

    def outcome(self, chosen: Int64[np.ndarray, " k"], test: Split, val: Split | None = None) -> Outcome:
        """Of the chosen strength of each attribute."""
        weights, gradient = self.fits.chosen(chosen)
        if self.kind == "classification" and float(gradient.max()) > solver.TOLERANCE:
            log.warning("logistic regression stopped with a gradient of %.1g", float(gradient.max()))
        predicted = solver.predict(self.axes(test.latents.mean()), weights)
        return Outcome(
            measured(self.kind, test.targets, predicted),
            predicted,
            "val",
            _listed("C" if self.kind == "classification" else "l", [STRENGTHS[self.kind][i] for i in chosen]),
            train=_first(self.kind, self.targets, solver.predict(self.x, weights)),
            val=None if val is None else self._first_of(val, weights),
            gradient=gradient.numpy(),
            rank=self.axes.rank,
        )

    def _first_of(self, split: Split, weights: Float64[Tensor, "w k"]) -> Float64[np.ndarray, " k"]:
        return _first(self.kind, split.targets, solver.predict(self.axes(split.latents.mean()), weights))


def run_linear(train: Split, val: Split, test: Split, kind: Kind) -> Outcome:
    """For each attribute the strength of its own."""
    fit = LinearFit(kind, train.latents.mean(), train.targets)
    return fit.outcome(choose(kind, val.targets, fit.predictions(val.latents.mean()), DEFAULT_STRENGTH), test, val)


def run_neighbours(train: Split, val: Split, test: Split, kind: Kind) -> Outcome:
    """Means over the nearest training images."""
    from sklearn.neighbors import NearestNeighbors

    z, held_out, shown = (codes.numpy() for codes in _standardised(train, val, test))
    counts = [k for k in NEIGHBOURS if k <= len(z)]
    index = NearestNeighbors(n_neighbors=counts[0]).fit(z)

    def candidates(codes: np.ndarray) -> list[Float64[np.ndarray, "n k"]]:
        nearest = index.kneighbors(codes, return_distance=False)
        return [train.targets[nearest[:, :k]].mean(axis=1) for k in counts]

    default = counts.index(min(counts[0], _DEFAULT_NEIGHBOURS))
    chosen = choose(kind, val.targets, candidates(held_out), default)
    predicted = np.take_along_axis(np.stack(candidates(shown)), chosen[None, None], axis=0)[0]
    found = measured(kind, test.targets, predicted)
    return Outcome(found, predicted, "val", _listed("k", [float(counts[i]) for i in chosen]), rank=_rank(train))


def run_mlp(train: Split, val: Split, test: Split, kind: Kind, seed: int) -> Outcome:
    """One hidden layer; continuous targets are standardised for its loss."""
    z, held_out, shown = _standardised(train, val, test)
    mean, std = np.zeros(train.targets.shape[1]), np.ones(train.targets.shape[1])
    if kind == "regression":
        mean, std = train.targets.mean(axis=0), train.targets.std(axis=0)
        std = np.where(std > 0, std, 1.0)
    hidden = initial_head(z.shape[1], HIDDEN, mixed_seed(seed, "hidden"))
    network = nn.Sequential(hidden, nn.ReLU(), initial_head(HIDDEN, len(mean), mixed_seed(seed, "head")))

    def order(epoch: int) -> Tensor:
        return torch.randperm(len(z), generator=torch.Generator().manual_seed(mixed_seed(seed, epoch, "order")))

    @torch.inference_mode()
    def predictions(codes: Float[Tensor, "n d"]) -> np.ndarray:
        return network(codes).double().numpy() * std + mean

    epochs = training_epochs(network, lambda epoch: z, (train.targets - mean) / std, LOSSES[kind], MLP, order)
    best, _ = select_epoch(network, (mean_of_known(_first(kind, val.targets, predictions(held_out))) for _ in epochs))
    predicted = predictions(shown)
    return Outcome(
        measured(kind, test.targets, predicted),
        predicted,
        "val",
        f"epoch {best + 1}, best on val",
        epoch=best,
        train=_first(kind, train.targets, predictions(z)),
        rank=_rank(train),
    )


def choose(
    kind: Kind, targets: np.ndarray, candidates: Iterable[Float64[np.ndarray, "n k"]], default: int
) -> Int64[np.ndarray, " k"]:
    """Which of the candidates predicts each attribute best: by AP, or MSE; the first of equals.

    Args:
        targets: (n, k).
        candidates: predictions, the most regular first.
        default: the choice for a binary attribute with one class only.
    """
    if kind == "regression":
        return np.stack([METRICS[kind]["MSE"](targets, predicted) for predicted in candidates]).argmin(axis=0)
    best = np.stack([METRICS[kind]["AP"](targets, predicted) for predicted in candidates]).argmax(axis=0)
    return np.where(np.ptp(targets, axis=0) > 0, best, default)


def measured(kind: Kind, targets: np.ndarray, predicted: np.ndarray) -> dict[str, np.ndarray]:
    """Every metric of a kind, float64 (k,); r of a constant prediction is 0."""
    found = scores(kind, targets, predicted)
    if "Pearson_r" in found:
        nothing = (np.ptp(predicted, axis=0) == 0) & (np.ptp(targets, axis=0) > 0)
        found["Pearson_r"] = np.where(nothing, 0.0, found["Pearson_r"])
    return found


def _first(kind: Kind, targets: np.ndarray, predicted: np.ndarray) -> Float64[np.ndarray, " k"]:
    """AP or r; NaN where the targets are constant."""
    found = measured(kind, targets, predicted)[next(iter(METRICS[kind]))]
    return np.where(np.ptp(targets.astype(np.float64), axis=0) > 0, found, np.nan)


def mean_of_known(values: Float64[np.ndarray, " k"]) -> float:
    """Mean of those that are no NaN; 0 where none is."""
    return float(np.nanmean(values)) if np.isfinite(values).any() else 0.0


def _standardised(train: Split, *others: Split) -> list[Float32[Tensor, "n d"]]:
    """Codes of all splits, each dimension standardised as the training images have it."""
    means = [split.latents.mean() for split in (train, *others)]
    mean, scale = (statistic.float() for statistic in solver.standardisation(means[0]))
    return [(z - mean) * scale for z in means]


def _rank(train: Split) -> int:
    return solver.axes(train.latents.mean()).rank


def _listed(name: str, values: Sequence[float]) -> str:
    """What the attributes chose: "C 0.001 to 1, median 0.1"."""
    low, high, middle = min(values), max(values), float(np.median(values))
    return f"{name} {low:g}" if low == high else f"{name} {low:g} to {high:g}, median {middle:g}"
