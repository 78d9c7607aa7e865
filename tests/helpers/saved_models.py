"""Checkpoints of small models of any method, for images of 8 px."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from systems import fresh, stirred, tiny_config

from baselines.methods import METHODS
from dbae.checkpoints import own as checkpoint
from dbae.checkpoints.own import Card, as_json


def saved(folder: Path, key: str) -> Path:
    """A file of method `key`, with weights that make its outputs depend on all inputs."""
    config = tiny_config(key)
    model = stirred(fresh(METHODS[key].model, config))
    card = Card(key, "small", as_json(dataclasses.asdict(config)), {"name": "pixels"}, images_seen=1)
    path = folder / f"{key}.safetensors"
    checkpoint.save(path, card, ema=model.state_dict())
    return path
