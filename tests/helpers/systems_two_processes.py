"""Two steps of training of small systems, in as many processes as torchrun starts.

As a program: `systems_two_processes.py FOLDER`. It leaves every system's parameters in `FOLDER/RANK.pt`.
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from systems import fresh, stirred, tiny_config
from torch import Tensor, nn

sys.path.append(str(Path(__file__).parent))
from small_model import Pixels

from baselines.methods import METHODS
from dbae.checkpoints.own import Card
from dbae.data import TrainingStream
from dbae.networks.endpoint_decoder import SpectralConv2d
from dbae.noise import mixed_seed
from dbae.support import distributed
from dbae.training.config import TrainConfig
from dbae.training.loop import fit

OPTIONS: dict[str, dict[str, Any]] = {
    "ae": {},
    "vae": {},
    "info_vae": {},
    "infodiffusion": {},
    "drl": {},
    "vdrl": {},
    "sami": dict(kl_start=1e-3, kl=1e-3),
    "sb_vae": dict(steps=2, drift_every=1),
    "disdiff": dict(weight=1.0),
    "ib_gan": {},
    "simclr": dict(temperature=1e-3),
    "fdae": dict(decorrelation=1.0, entropy=1.0),
    "beta_tcvae": {},
}
"""Systems, with what makes a step the same however many images a process has seen, or its own terms weigh something."""
AT_ONCE = {"simclr": 2, "fdae": 2, "beta_tcvae": 2}
"""Images among which a statistic is taken, of systems whose loss compares those of a batch: one tells them nothing."""

# RAdam's first steps follow the gradient itself: Adam's would make much of the rounding of a gradient near 0.
CONFIG = TrainConfig(images=8, batch_size=4, accumulate=1, lr=0.1, flip=False, clip_grad=1.0, log_every=1)


def image_by_image(objective: Callable[..., Any], at_once: int = 1) -> Callable[..., Any]:
    """An objective whose draws are functions of the image: its mean over a batch is the same wherever that is cut.

    What is a statistic of a batch is then one of `at_once` images that follow each other, as many as a process has of
    it. Of more processes every one has another part of a batch to take statistics of, and so another loss than one
    process has; what is tested is that nothing but this tells them apart.
    """

    def each(model: nn.Module, x0: Tensor, generator: torch.Generator) -> SimpleNamespace:
        for module in model.modules():
            if isinstance(module, nn.Dropout | nn.BatchNorm2d | SpectralConv2d):
                module.eval()
        found = []
        for images in x0.split(at_once):
            key = int((images.double().sum() * 1000).round().abs())
            seeded = torch.Generator().manual_seed(mixed_seed(key, "image"))
            found.append(objective(model, images, seeded))
        return SimpleNamespace(loss=torch.cat([f.loss for f in found]), mse=torch.cat([f.mse for f in found]))

    return each


def initial(key: str) -> nn.Module:
    """A small system, a function of its name."""
    return stirred(fresh(METHODS[key].model, dataclasses.replace(tiny_config(key), **OPTIONS[key])))


def trained(key: str, out: Path) -> dict[str, Tensor]:
    """Its parameters after two steps."""
    model = initial(key)
    stream = TrainingStream(Pixels(8, 8), np.arange(8), CONFIG.batch_size, seed=0, flip=False)
    card = Card(method=key, name="small", config={})
    fit(model, image_by_image(METHODS[key].loss, AT_ONCE.get(key, 1)), stream, CONFIG, out, card)
    return {name: parameter.detach().clone() for name, parameter in model.named_parameters()}


def main(folder: Path) -> None:
    """Train all of them in this process, one of several."""
    torch.set_num_threads(1)
    world = distributed.world(torch.device("cpu"))
    torch.save({key: trained(key, folder / key) for key in OPTIONS}, folder / f"{world.rank}.pt")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
