"""Latents are computed once: 15 epochs of a probe on cached latents, against encoding anew in every epoch."""

from __future__ import annotations

import time

import numpy as np
import pytest
import torch
from small_model import Pixels

from benchmarks.downstream.probe import Split, probe_config, run_probe
from dbae.images import to_float
from dbae.latents import Encoder, LatentCache
from dbae.model import DBAE, faces32

N, HELD_OUT = 384, 64


@pytest.fixture(scope="module")
def model() -> DBAE:
    return DBAE.initialised(faces32(), 0).eval()


def test_probe_on_cached_latents(measure, note, model, tmp_path):
    data = Pixels(N, 32)
    config = probe_config("standard", "classification")
    targets = np.random.default_rng(0).integers(0, 2, (N, 39))
    folders = (tmp_path / str(i) for i in range(10))  # empty: every round encodes

    def splits() -> tuple[Split, Split]:
        cache = LatentCache(next(folders), torch.device("cpu"))
        encoder = Encoder(model.posterior, "key", "faces32")
        parts = np.arange(HELD_OUT, N), np.arange(HELD_OUT)
        train, test = (Split(cache.get(encoder, data, part), targets[part]) for part in parts)
        return train, test

    def encode_and_probe() -> None:
        train, test = splits()
        run_probe(train, test, test, kind="classification", config=config, seed=0)

    seconds = measure(encode_and_probe, items=N * config.epochs, unit="images x epochs", rounds=3)
    start = time.process_time()
    with torch.inference_mode():
        for batch in np.array_split(np.arange(N), N // 128):
            model.posterior(to_float(data.batch(batch)))
    encoding = time.process_time() - start
    # The public script encodes the training and the validation images in every epoch, and the test images once.
    anew = seconds + (config.epochs - 1) * encoding
    note("times faster than encoding in every epoch", anew / seconds)
