"""Metrics against the packages of reference on the same arrays: how many times as fast, and whether they agree.

The packages come with the extra `speed`; a line whose package is not installed is skipped.
"""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Callable

import numpy as np
import pytest
import torch

from benchmarks.extractors.torchvision_shim import import_torchvision
from benchmarks.metrics import reconstruction
from benchmarks.metrics.auroc import auroc_exact
from benchmarks.metrics.frechet import frechet_distance, kernel_distance
from benchmarks.metrics.precision_recall import neighbours
from benchmarks.metrics.prediction import average_precision

DIM, SUBSETS = 2048, 100


def package(name: str):
    import_torchvision()
    return pytest.importorskip(name, reason="comes with the extra `speed`")


def features(n: int, seed: int) -> torch.Tensor:
    """Of a few strong directions, many weak ones, and none below zero, as Inception's."""
    directions = np.random.RandomState(9).standard_normal((64, DIM)) / 8
    rng = np.random.RandomState(seed)
    values = rng.standard_normal((n, 64)) @ directions + 0.3 * rng.standard_normal((n, DIM)) + 0.05 * seed
    return torch.from_numpy(np.abs(values).astype(np.float32))


@pytest.fixture(scope="module")
def sets() -> Callable[[int], tuple[torch.Tensor, torch.Tensor]]:
    return lambda n: (features(n, 0), features(n, 1))


def torch_fidelity_frechet(real: torch.Tensor, fake: torch.Tensor) -> float:
    metric = package("torch_fidelity.metric_fid")
    moments = [metric.fid_features_to_statistics(x) for x in (fake, real)]
    return metric.fid_statistics_to_metric(*moments, verbose=False)["frechet_inception_distance"]


def torchmetrics_frechet(real: torch.Tensor, fake: torch.Tensor) -> float:
    """From sums and sums of products, as its `FrechetInceptionDistance` accumulates them."""
    metric = package("torchmetrics.image.fid")
    moments = []
    for x in (real.double(), fake.double()):
        mean = x.sum(dim=0) / len(x)
        moments += [mean, (x.T @ x - len(x) * mean[:, None] @ mean[None]) / (len(x) - 1)]
    return float(metric._compute_fid(*moments))


def clean_fid_frechet(real: torch.Tensor, fake: torch.Tensor) -> float:
    return package("cleanfid.fid").fid_from_feats(real.numpy(), fake.numpy())


FRECHET = {
    "torch-fidelity": torch_fidelity_frechet, "torchmetrics": torchmetrics_frechet, "clean-fid": clean_fid_frechet
}  # fmt: skip


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize(("n", "goal"), [(1000, 5.0), (5000, 1.5)])
@pytest.mark.parametrize("name", FRECHET)
def test_frechet_distance(against, sets, name, n, goal):
    real, fake = sets(n)
    found, expected = against(
        f"Frechet distance, {n:,} x {DIM}", name, goal,
        lambda: frechet_distance(real=real, fake=fake), lambda: FRECHET[name](real, fake), rounds=1,
    )  # fmt: skip
    assert found == pytest.approx(expected, rel=1e-3)


def test_kernel_distance(against, sets):
    real, fake = sets(5000)
    fid = package("cleanfid.fid")

    def theirs() -> float:
        np.random.seed(0)
        return fid.kernel_distance(real.numpy(), fake.numpy(), num_subsets=SUBSETS)

    what = f"KID of {SUBSETS} subsets, 5,000 x {DIM}"
    found, expected = against(
        what, "clean-fid", 1.5, lambda: kernel_distance(real=real, fake=fake, subsets=SUBSETS).mean, theirs, rounds=1
    )
    assert found == pytest.approx(expected, abs=1e-6)


def torch_fidelity_neighbours(real: torch.Tensor, fake: torch.Tensor) -> tuple[float, ...]:
    return package("torch_fidelity.metric_prc").calculate_precision_recall_full(fake, real, 3)


def prdc_neighbours(real: torch.Tensor, fake: torch.Tensor) -> tuple[float, ...]:
    """On one thread, which is what is measured; it takes eight."""
    import joblib

    with joblib.parallel_backend("sequential"), contextlib.redirect_stdout(io.StringIO()):
        shares = package("prdc").compute_prdc(real.numpy(), fake.numpy(), nearest_k=5)
    return shares["density"], shares["coverage"]


@pytest.mark.parametrize(("name", "goal"), [("torch-fidelity", 1.5), ("prdc", 3.0)])
def test_neighbours(against, sets, name, goal):
    real, fake = sets(5000)
    theirs = torch_fidelity_neighbours if name == "torch-fidelity" else prdc_neighbours
    found, expected = against(
        f"precision, recall, density, coverage, 5,000 x {DIM}", name, goal,
        lambda: neighbours(real=real, fake=fake), lambda: theirs(real, fake), rounds=1,
    )  # fmt: skip
    ours = (found.precision, found.recall) if name == "torch-fidelity" else (found.density, found.coverage)
    assert ours == pytest.approx(expected, abs=1e-3)


@pytest.mark.parametrize(("n", "goal"), [(200, 10.0), (2000, 5.0), (20_000, 1.5)])
def test_average_precision(against, n, goal):
    from sklearn.metrics import average_precision_score

    rng = np.random.default_rng(0)
    labels = (rng.random((n, 40)) < 0.2).astype(np.int8)
    labels[0] = 1
    scores = (rng.standard_normal((n, 40)) + labels).astype(np.float32)
    found, expected = against(
        f"average precision of 40 attributes, {n:,} images", "scikit-learn", goal,
        lambda: average_precision(labels, scores),
        lambda: [average_precision_score(y, s) for y, s in zip(labels.T, scores.T.astype(np.float64), strict=True)],
    )  # fmt: skip
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-14)


def test_exact_auroc(against):
    from sklearn.metrics import roc_auc_score

    rng = np.random.default_rng(0)
    labels, codes = (rng.random((8000, 8)) < 0.3).astype(np.int8), rng.standard_normal((8000, 16))
    found, expected = against(
        "exact AUROC of 16 dimensions x 8 attributes, 8,000 images", "scikit-learn", 20.0,
        lambda: auroc_exact(codes, labels)[0],
        lambda: np.array([[roc_auc_score(y, z) for z in codes.T] for y in labels.T]),
    )  # fmt: skip
    np.testing.assert_allclose(found, np.maximum(expected, 1 - expected), rtol=0, atol=1e-12)


def scikit_image_ssim(x: torch.Tensor, y: torch.Tensor) -> list[float]:
    from skimage.metrics import structural_similarity

    options = {"channel_axis": 0, "data_range": 1.0, "gaussian_weights": True, "sigma": 1.5}
    return [structural_similarity(a, b, use_sample_covariance=False, **options) for a, b in zip(x, y, strict=True)]


def torchmetrics_ssim(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Of its map, whose mean is over a mirrored border too."""
    metric = package("torchmetrics.functional.image").structural_similarity_index_measure
    _, map_ = metric(x, y, data_range=1.0, reduction="none", return_full_image=True)
    return map_[..., 5:-5, 5:-5].mean(dim=(1, 2, 3))


def pytorch_msssim_ssim(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    return package("pytorch_msssim").ssim(x, y, data_range=1.0, size_average=False)


SSIM = {
    "scikit-image": scikit_image_ssim, "torchmetrics": torchmetrics_ssim, "pytorch-msssim": pytorch_msssim_ssim
}  # fmt: skip


@pytest.mark.parametrize("name", SSIM)
def test_ssim(against, name):
    """Over the interior, which does not depend on what lies beyond the border."""
    rng = torch.Generator().manual_seed(0)
    x = torch.rand(16, 3, 64, 64, generator=rng)
    y = (x + 0.1 * torch.randn(x.shape, generator=rng)).clamp(0, 1)
    a, b = (x.numpy(), y.numpy()) if name == "scikit-image" else (x, y)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found, expected = against(
            "SSIM of 16 images of 64 px", name, 2.0,
            lambda: reconstruction.ssim_skimage(x, y), lambda: SSIM[name](a, b),
        )  # fmt: skip
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4)
