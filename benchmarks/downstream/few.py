"""Linear probes that are given few labels: of the training images, n at random, and no other label.

A seed draws an order of the training images; the first n of it are labelled, so that more labels of a seed contain
fewer. The probe is the linear one of protocol "standard" (`benchmarks.downstream.standard`), with two differences:

    strength    nobody has labels to choose it on: 5-fold cross-validation among the n, all predictions for images left
                out taken together; where people are known, nobody is in two folds. A logit counts from its fold's
                intercept, which says only how many positive images the other folds have
    scale of z  mean and standard deviation of the n images

An attribute that is the same in all n images is predicted as a constant: AP is its prevalence, r 0. It counts in the
means like any other, so that these are over the same attributes for every n.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Int64

from benchmarks.downstream.probe import Kind, Outcome, Split
from benchmarks.downstream.standard import DEFAULT_STRENGTH, STRENGTHS, LinearFit, choose
from dbae.noise import mixed_seed

FOLDS = 5


def labelled(images: int, n: int, seed: int) -> Int64[np.ndarray, " n"]:
    """Which of so many training images have labels: rows, rising."""
    return np.sort(np.random.default_rng(mixed_seed(seed, "labelled images")).permutation(images)[:n])


def folds(people: np.ndarray, seed: int) -> Int64[np.ndarray, " n"]:
    """The fold of each image, 0 to 4: whole people, as many in one as in another."""
    names, who = np.unique(people, return_inverse=True)
    return np.random.default_rng(mixed_seed(seed, "folds")).permutation(len(names))[who] % FOLDS


def run_few(train: Split, test: Split, *, kind: Kind, seed: int) -> list[Outcome]:
    """Fit on the labelled images `train`, measure on `test`: one outcome. `seed` is of the folds."""
    z, targets = train.latents.mean(), train.targets
    fold = folds(np.arange(len(z)) if train.people is None else train.people, seed)
    left_out = np.zeros((len(STRENGTHS[kind]), *targets.shape))
    for i in np.unique(fold):
        rest, out = fold != i, fold == i
        fit = LinearFit(kind, z[rest], targets[rest])
        intercepts = fit.fits.weights[:, -1].numpy() if kind == "classification" else np.zeros_like(left_out[:, 0])
        for s, predicted in enumerate(fit.predictions(z[out])):
            left_out[s, out] = predicted - intercepts[s]
    return [LinearFit(kind, z, targets).outcome(choose(kind, targets, left_out, DEFAULT_STRENGTH), test)]
