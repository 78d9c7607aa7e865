"""Distances between sets of features against clean-fid's on the same arrays, and what the built-in extractor costs."""

from __future__ import annotations

import time

import numpy as np
import pytest
import torch

from benchmarks.extractors.faces import load_facefeatures
from benchmarks.extractors.torchvision_shim import import_torchvision
from benchmarks.metrics.frechet import frechet_distance, kernel_distance
from benchmarks.metrics.precision_recall import neighbours

N, DIM, SUBSETS = 1500, 1024, 5


@pytest.fixture(scope="module")
def features() -> list[torch.Tensor]:
    return [torch.from_numpy(np.random.RandomState(i).random((N, DIM)).astype(np.float32)) for i in range(2)]


@pytest.fixture(scope="module")
def cleanfid():
    import_torchvision()
    from cleanfid import fid

    return fid


def seconds_of(function, *arguments, **keywords) -> float:
    start = time.process_time()
    function(*arguments, **keywords)
    return time.process_time() - start


@pytest.mark.filterwarnings("ignore:The `disp` argument:DeprecationWarning")
def test_frechet_distance(measure, note, features, cleanfid):
    real, fake = features
    own = measure(lambda: frechet_distance(real=real, fake=fake), items=2 * N, unit="images", rounds=3)
    note("times faster than clean-fid", seconds_of(cleanfid.fid_from_feats, real.numpy(), fake.numpy()) / own)


def test_kernel_distance(measure, note, features, cleanfid):
    real, fake = features
    own = measure(
        lambda: kernel_distance(real=real, fake=fake, subsets=SUBSETS), items=SUBSETS, unit="subsets", rounds=3
    )
    theirs = seconds_of(cleanfid.kernel_distance, real.numpy(), fake.numpy(), num_subsets=SUBSETS)
    note("times faster than clean-fid", theirs / own)


def test_neighbours(measure, features):
    real, fake = features
    measure(lambda: neighbours(real=real, fake=fake), items=2 * N, unit="images", rounds=3)


def test_face_features(measure):
    extractor, images = load_facefeatures(), torch.zeros(256, 3, 64, 64, dtype=torch.uint8)
    measure(lambda: extractor(images), items=len(images), unit="images", rounds=3)
