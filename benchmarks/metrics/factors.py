r"""Disentanglement where the factors of variation are known: MIG, DCI, SAP and the FactorVAE score.

Factors are integer classes (drawn faces, 3DShapes, dSprites, ...). Every score is in [0, 1], higher is better.

    MIG   mean over factors of (largest - second largest of MI(z_d, v)) / H(v); codes in 20 equal bins over their range
    SAP   mean over factors of (largest - second largest test accuracy of a linear classifier on one dimension)
    DCI   importance matrix R (dimensions x factors) of gradient-boosted trees; P = R normalised over factors for
          disentanglement, over dimensions for completeness: sum of shares x (1 - entropy of P, base its length);
          informativeness = test accuracy
    FactorVAE score   a factor is held fixed in a batch of 64; the dimension of least variance, relative to that over
          all training images, votes; accuracy of the majority vote on batches of the test images

Sources: google-research/disentanglement_lib (definitions, constants); Chen et al. 2018, Kumar et al. 2018, Eastwood and
Williams 2018, Kim and Mnih 2018.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import torch
from jaxtyping import Float, Float64, Int, Integer

from dbae.support.progress import progress_bar

_LEAST_VARIANCE = 1e-12


@dataclasses.dataclass(frozen=True)
class Codes:
    """Codes float (n, d) of images and their factors, classes (n, f), kept as int64.

    Raises:
        ValueError: codes are not finite, factors are no integers or not as many as codes, or one is constant.
    """

    z: Float[np.ndarray, "n d"]
    factors: Integer[np.ndarray, "n f"]

    def __post_init__(self) -> None:
        if len(self.z) != len(self.factors):
            raise ValueError(f"{len(self.z)} codes and {len(self.factors)} rows of factors")
        if not np.isfinite(self.z).all():
            raise ValueError("codes must be finite")
        if not np.issubdtype(self.factors.dtype, np.integer):
            raise ValueError(f"factors must be classes, as integers, found {self.factors.dtype}")
        object.__setattr__(self, "factors", self.factors.astype(np.int64, copy=False))  # in a byte, 255 + 1 is 0
        constant = np.flatnonzero(self.factors.min(axis=0) == self.factors.max(axis=0))
        if len(constant):
            raise ValueError(f"factors {constant.tolist()} have one class only; leave them out")


def on_components(train: Codes, test: Codes, *, dimensions: int = 36) -> tuple[Codes, Codes]:
    """Both on the first principal components of the training codes, all of them where there are no more.

    Vectors as codes: a factor that is spread over many dimensions may lie along one component.
    """
    middle = train.z.mean(axis=0, dtype=np.float64)
    _, axes = np.linalg.eigh(np.atleast_2d(np.cov((train.z - middle).T)))  # by rising variance
    first = axes[:, ::-1][:, :dimensions]
    return Codes((train.z - middle) @ first, train.factors), Codes((test.z - middle) @ first, test.factors)


def mutual_information_gap(codes: Codes, *, bins: int = 20) -> float:
    """MIG; with one dimension the second largest is 0."""
    from sklearn.metrics import mutual_info_score

    binned = np.stack([np.digitize(z, np.histogram_bin_edges(z, bins)[:-1]) for z in codes.z.T])
    gaps = []
    for factor in codes.factors.T:
        information = np.array([mutual_info_score(factor, z) for z in binned])
        gaps.append(_gap(information) / mutual_info_score(factor, factor))
    return float(np.mean(gaps))


def separated_attribute_predictability(train: Codes, test: Codes) -> float:
    """SAP: a linear support vector classifier (C = 0.01, balanced classes) on each dimension alone.

    A dimension that does not vary has the accuracy of the one class it predicts, as in disentanglement_lib: were it 0,
    codes would score the higher the more of them collapse.
    """
    from sklearn.svm import LinearSVC

    gaps = []
    for factor, truth in zip(train.factors.T, test.factors.T, strict=True):
        scores = np.zeros(train.z.shape[1])
        for d in range(len(scores)):
            classifier = LinearSVC(C=0.01, class_weight="balanced", random_state=0)
            classifier.fit(train.z[:, [d]], factor)
            scores[d] = (classifier.predict(test.z[:, [d]]) == truth).mean()
        gaps.append(_gap(scores))
    return float(np.mean(gaps))


@dataclasses.dataclass(frozen=True)
class DCI:
    """Disentanglement, completeness and informativeness (accuracy on the test codes)."""

    disentanglement: float
    completeness: float
    informativeness: float


def dci(train: Codes, test: Codes, *, seed: int = 0) -> DCI:
    """DCI with scikit-learn's gradient-boosted trees at their defaults, one model a factor; minutes at 10,000 codes.

    As many factors at a time, each in a process, as PyTorch has threads.
    """
    from sklearn import config_context
    from sklearn.ensemble import GradientBoostingClassifier
    from sklearn.utils.parallel import Parallel, delayed

    fit = delayed(GradientBoostingClassifier(random_state=seed).fit)
    jobs = min(torch.get_num_threads(), train.factors.shape[1])
    unchecked = config_context(skip_parameter_validation=True)  # of every tree anew: a sixth of the time
    with unchecked, progress_bar(train.factors.shape[1], "DCI", unit="factors", leave=False) as bar:
        importances, accuracy = [], []
        fitted = Parallel(n_jobs=jobs, return_as="generator")(fit(train.z, factor) for factor in train.factors.T)
        for trees, truth in zip(fitted, test.factors.T, strict=True):
            importances.append(np.abs(trees.feature_importances_))
            accuracy.append(trees.score(test.z, truth))
            bar.update(1)
    importance = np.stack(importances, axis=1)
    return DCI(disentanglement(importance), completeness(importance), float(np.mean(accuracy)))


def disentanglement(importance: Float64[np.ndarray, "d f"]) -> float:
    """Does each dimension matter to one factor only? Weighted by the dimension's share of all importance."""
    return _concentration(importance)


def completeness(importance: Float64[np.ndarray, "d f"]) -> float:
    """Does one dimension only matter to each factor? Weighted by the factor's share of all importance."""
    return _concentration(importance.T)


def _concentration(importance: Float64[np.ndarray, "rows columns"]) -> float:
    if importance.shape[1] == 1:
        return 1.0
    p = importance + 1e-11
    p = p / p.sum(axis=1, keepdims=True)
    entropy = -(p * np.log(p)).sum(axis=1) / np.log(p.shape[1])
    total = importance.sum()
    share = importance.sum(axis=1) / total if total > 0 else np.full(len(p), 1 / len(p))
    return float((share * (1 - entropy)).sum())


def factor_vae_score(
    fitted: Codes, held_out: Codes, *, batch: int = 64, train_votes: int = 10_000, test_votes: int = 5000, seed: int = 0
) -> float:
    """FactorVAE score; 0 where no dimension varies.

    A batch with factor f fixed is drawn with replacement from the images that have its value at a random image. Votes
    that are counted come from `held_out`: on the images that made the majority, noise is above chance.
    """
    variance = fitted.z.astype(np.float64).var(axis=0, ddof=1)
    active = np.flatnonzero(variance > _LEAST_VARIANCE)
    if not len(active):
        return 0.0
    rng, scale = np.random.default_rng(seed), np.sqrt(variance[active])
    train = _votes(fitted.z[:, active] / scale, fitted.factors, batch, train_votes, rng)
    test = _votes(held_out.z[:, active] / scale, held_out.factors, batch, test_votes, rng)
    winner = train.argmax(axis=1)
    return float(test[np.arange(len(test)), winner].sum() / test.sum())


def _votes(
    z: Float[np.ndarray, "n d"], factors: Int[np.ndarray, "n f"], batch: int, votes: int, rng: np.random.Generator
) -> Int[np.ndarray, "d f"]:
    """How often each dimension varied least while each factor was fixed."""
    counts = np.zeros((z.shape[1], factors.shape[1]), dtype=np.int64)
    fixed = rng.integers(0, factors.shape[1], votes)
    for f in range(factors.shape[1]):
        order = np.argsort(factors[:, f], kind="stable")
        ordered = factors[order, f]
        for value in ordered[rng.integers(0, len(z), int((fixed == f).sum()))]:
            low, high = np.searchsorted(ordered, [value, value + 1])
            rows = order[rng.integers(low, high, batch)]
            counts[z[rows].var(axis=0, ddof=1).argmin(), f] += 1
    return counts


def _gap(scores: Float64[np.ndarray, " d"]) -> float:
    ordered = np.sort(np.append(scores, 0.0))
    return float(ordered[-1] - ordered[-2])
