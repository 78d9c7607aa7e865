"""`faces32` on the CPU: a training step in both memory layouts, and a forward pass."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from small_model import Pixels, small_card

from dbae.data import TrainingStream
from dbae.model import DBAE, faces32
from dbae.train import objective
from dbae.training.config import TrainConfig
from dbae.training.folder import RunFolder
from dbae.training.loop import Trainer

BATCH = 64


@pytest.mark.parametrize("channels_last", [True, False])
def test_training_step(measure, tmp_path, channels_last):
    config = TrainConfig(batch_size=BATCH, accumulate=1, channels_last=channels_last, clip_grad=1.0, device="cpu")
    model = DBAE.initialised(faces32(), 0)
    trainer = Trainer(model, objective, config, RunFolder(tmp_path), small_card(model))
    trainer.start(resume=False)
    _, images = TrainingStream(Pixels(BATCH, 32), np.arange(BATCH), BATCH, seed=0).batch(0)
    measure(lambda: trainer.train_step(images), items=BATCH, unit="images")
    trainer.log.close()


@pytest.mark.parametrize("channels_last", [True, False])
@pytest.mark.parametrize("part", ["encoder", "denoiser"])
@torch.no_grad()
def test_forward(measure, part, channels_last):
    layout = torch.channels_last if channels_last else torch.contiguous_format
    model = DBAE.initialised(faces32(), 0).eval().to(memory_format=layout)
    x = torch.zeros(BATCH, 3, 32, 32).contiguous(memory_format=layout)
    z = model.encode(x)
    forward = {
        "encoder": lambda: model.encode(x),
        "denoiser": lambda: model.denoise(x, torch.full((BATCH,), 0.5), x, z),
    }
    measure(forward[part], items=BATCH, unit="images", rounds=10)
