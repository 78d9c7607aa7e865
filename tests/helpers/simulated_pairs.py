"""How often are verdicts of two models wrong, and how often right? Models whose truth is known, drawn again and again.

Each kind of comparison has a function (rng, gain) -> intervals of one pair of simulated models, by what was compared.
With gain 0 the models are equally good; `gain` is in the units of the table that this file prints as a program:

    python tests/helpers/simulated_pairs.py --pairs 1000

`rates` gives the share of pairs whose interval leaves out zero: false alarms, or the power at a gain.
"""

from __future__ import annotations

import argparse
import functools
import time
from collections import Counter
from collections.abc import Callable

import numpy as np
import torch

from benchmarks.metrics import disentanglement
from benchmarks.metrics.bootstrap import Interval, paired_bootstrap
from benchmarks.metrics.frechet import frechet_distance, inception_score, kernel_distance
from benchmarks.metrics.half_splits import half_splits
from benchmarks.metrics.influence import frechet_contributions, inception_contributions, kernel_contributions
from benchmarks.metrics.precision_recall import neighbours
from benchmarks.results.difference import of_scores
from benchmarks.results.evidence import resample
from benchmarks.results.noise import Noise, interval
from benchmarks.results.scores import ImageScores

Found = dict[str, Interval]


def image_values(rng: np.random.Generator, gain: float = 0.0, n: int = 100) -> Found:
    """Values of images, hard ones hard for both models; errors are skewed."""
    hard = rng.gamma(2, 1, n)
    a, b = (hard + rng.exponential(1, n) for _ in range(2))
    return {f"mean over {n} images": paired_bootstrap(b + gain, a, resamples=1000)}


def people(rng: np.random.Generator, gain: float = 0.0, n: int = 40) -> Found:
    """Several images of each person, alike for each model."""
    groups = np.repeat(np.arange(n), rng.integers(1, 8, n))
    a, b = (rng.standard_normal(n)[groups] + 0.5 * rng.standard_normal(len(groups)) for _ in range(2))
    return {f"mean over images of {n} people": paired_bootstrap(b + gain, a, groups=groups, resamples=1000)}


def probes(rng: np.random.Generator, gain: float = 0.0, n: int = 400, k: int = 8, spread: float = 0.0) -> Found:
    """Predictions of attributes of the same images. `spread`: how much the models differ by attribute, 0 on average."""
    image = rng.standard_normal((n, 1))  # attributes go together in an image, and so do what both models miss
    truth = 0.5 * image + rng.standard_normal((n, k))
    by_attribute = spread * rng.standard_normal(k)
    strength = (1 - by_attribute / 2, 1 + gain + by_attribute / 2)
    miss = 0.5 * rng.standard_normal((n, 1)) + 0.5 * rng.standard_normal((n, k))
    models = [s * truth + miss + 0.5 * rng.standard_normal((n, 1)) + rng.standard_normal((n, k)) for s in strength]
    binary = (truth > np.linspace(0, 1.5, k)).astype(np.int8)
    found = {}
    for metric, targets in (("AP", binary), ("Pearson_r", truth), ("MSE", truth)):
        sets = [ImageScores(np.arange(n), m, targets, tuple(map(str, range(k)))) for m in models]
        if spread:
            if metric == "Pearson_r":
                a, b = (resample([s], metric, 200) for s in sets)
                found[f"r, {k} of many attributes, --resample both"] = of_scores(_gain(a, b), a, b, "both")
        else:
            a, b = (resample([s], metric, 200) for s in sets)
            found[f"{metric} of {k} attributes, {n} images"] = of_scores(_gain(a, b), a, b, "images")
    return found


def _gain(a, b) -> float:
    return float(np.nanmean(b.values) - np.nanmean(a.values))


def sets_of_images(rng: np.random.Generator, gain: float = 0.0, n: int = 300, d: int = 8) -> Found:
    """Features of real images, and of two models that are off by as much (the second by less where there is a gain)."""
    real = torch.from_numpy(rng.standard_normal((n, d)))
    a, b = (torch.from_numpy(rng.standard_normal((n, d)) * 1.3 + 0.4 - shift) for shift in (0.0, gain))
    value, noise = {}, {}
    for name, fake in (("a", a), ("b", b)):
        kernel = kernel_distance(real=real, fake=fake, subsets=1)
        logits = 3 * fake
        value[name] = (frechet_distance(real=real, fake=fake), kernel.mean, inception_score(logits))
        parts = frechet_contributions(real=real, fake=fake), kernel_contributions(real=real, fake=fake)
        parts += ((inception_contributions(logits),),)
        noise[name] = [Noise("", n, tuple(p.numpy() for p in part)) for part in parts]
    kinds = (f"FD, {n} images", f"KD, {n} images", f"IS, {n} images")
    return {kind: interval(value["b"][i] - value["a"][i], noise["b"][i], noise["a"][i]) for i, kind in enumerate(kinds)}


def neighbour_counts(rng: np.random.Generator, gain: float = 0.0, n: int = 100, d: int = 4) -> Found:
    """Precision, recall, density and coverage of two models that miss as much of the real images."""

    def counts(real, fake):
        found = neighbours(real=real, fake=fake, k_density=5)
        return np.array([found.precision, found.recall, found.density, found.coverage])

    real = torch.from_numpy(rng.standard_normal((n, d)))
    value, noise = [], []
    for scale in (1.6, 1.6 - gain):
        fake = torch.from_numpy(rng.standard_normal((n, d)) * scale)
        value.append(counts(real, fake))
        noise.append([Noise("", n, halves=half) for half in half_splits(counts, real=real, fake=fake)])
    names = ("precision", "recall", "density", "coverage")
    return {
        f"{name}, {n} images": interval(value[1][i] - value[0][i], noise[1][i], noise[0][i])
        for i, name in enumerate(names)
    }


def codes(rng: np.random.Generator, gain: float = 0.0, n: int = 300) -> Found:
    """Codes of two models that carry three of four attributes as well as each other."""
    labels = (rng.random((n, 4)) < 0.4).astype(np.int8)
    found = []
    for strength in (1.6, 1.6 + gain):
        z = strength * np.pad(labels[:, :3], ((0, 0), (0, 2))) + rng.standard_normal((n, 5))
        found.append(disentanglement.bootstrap(z, labels, resamples=100))
    result = {}
    for name, a, b in zip(("TAD", "ATTRS"), *found, strict=True):
        noise = [Noise("", n, resamples=s.drawn, whole=name == "ATTRS") for s in (b, a)]
        result[f"{name}, {n} images"] = interval(b.value - a.value, *noise)
    return result


def few(rng: np.random.Generator, gain: float = 0.0, n: int = 16) -> Found:
    """The mean of a few skewed differences, bootstrap-t beside percentiles."""
    d = gain + rng.exponential(1, n) - 1
    means = d[rng.integers(0, n, (1000, n))].mean(axis=1)
    return {
        f"bootstrap-t, {n} pairs": paired_bootstrap(d, np.zeros(n), resamples=1000),
        f"percentiles, {n} pairs": Interval(d.mean(), *np.quantile(means, [0.025, 0.975])),
    }


KINDS: dict[str, tuple[Callable[..., Found], float]] = {
    "image values": (image_values, 0.4),
    "people": (people, 0.7),
    "probes": (probes, 0.2),
    "many attributes": (functools.partial(probes, k=16, spread=0.4), 0.25),
    "sets of images": (sets_of_images, 0.15),
    "neighbours": (neighbour_counts, 0.25),
    "codes": (codes, 0.5),
    "few": (few, 1.2),
}
"""Kind -> its function, and the gain at which power is stated."""


def rates(kind: str, pairs: int, *, seed: int = 0, gain: bool = False) -> dict[str, float]:
    """Share of pairs with a verdict of better or worse."""
    draw, better = KINDS[kind]
    verdicts: Counter[str] = Counter()
    for number in range(pairs):
        for name, found in draw(np.random.default_rng([seed, number]), better if gain else 0.0).items():
            verdicts[name] += not found.low <= 0 <= found.high
    return {name: count / pairs for name, count in verdicts.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=1000)
    parser.add_argument("--kinds", nargs="*", default=list(KINDS))
    options = parser.parse_args()
    print("| compared | false alarms | power | at a gain of | seconds |\n|---|---|---|---|---|")
    for kind in options.kinds:
        started = time.process_time()
        alarms = rates(kind, options.pairs)
        seconds = time.process_time() - started
        power = rates(kind, options.pairs, seed=1, gain=True)
        for name, alarm in alarms.items():
            print(f"| {name} | {alarm:.1%} | {power[name]:.0%} | {KINDS[kind][1]:g} | {seconds:.0f} |", flush=True)


if __name__ == "__main__":
    main()
