"""No loss but two reads a number out of a tensor, so that a GPU need not wait in a training step."""

from __future__ import annotations

import pytest
import torch
from device_watch import Watch, watch_copies
from systems import plain_images, tiny_config

from baselines.methods import METHODS

READS: dict[str, tuple[list[str], list[str]]] = {
    "simclr": ([], ["tolist"] * 2),  # the order in which each of two views changes its colours
    "sb_vae": (["aten._local_scalar_dense.default"] * 2, []),  # images and batches seen: which part is trained
}
"""What is read all the same, and copied to the host."""


@pytest.mark.parametrize("key", METHODS)
def test_loss_and_gradient_read_no_number(monkeypatch, key):
    method, config = METHODS[key], tiny_config(key)
    model, x0 = method.fresh(config, 0, "small").train(), plain_images(4, config.image_size)
    copied = watch_copies(monkeypatch)
    with Watch() as watch:
        method.loss(model, x0, torch.Generator().manual_seed(0)).loss.mean().backward()
    assert (watch.read, copied) == READS.get(key, ([], []))
