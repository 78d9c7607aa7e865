"""Checkpoints of small models of any method, for images of 8 px."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from systems import fresh, stirred, tiny

from baselines.methods import METHODS, drl, vae
from baselines.methods.ddim import DDIMConfig
from dbae.checkpoints import own as checkpoint
from dbae.checkpoints.own import Card, as_json

CONFIGS = {
    "ddim": lambda: DDIMConfig(8, tiny().unet),
    "diffae": tiny,
    "vae": lambda: vae.config_of("vae", tiny()),
    "ae": lambda: vae.config_of("ae", tiny()),
    "drl": lambda: drl.sized_as(tiny()),
}


def saved(folder: Path, key: str) -> Path:
    """A file of method `key`, with weights that make its outputs depend on all inputs."""
    config = CONFIGS[key]()
    model = stirred(fresh(METHODS[key].model, config))
    card = Card(key, "small", as_json(dataclasses.asdict(config)), {"name": "pixels"}, images_seen=1)
    path = folder / f"{key}.safetensors"
    checkpoint.save(path, card, ema=model.state_dict())
    return path
