"""A training step between two rows of the log reads no number out of a tensor, so that a GPU need not wait."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from device_watch import Watch, watch_copies
from small_model import Pixels, small_card, small_model
from training_runs import CONFIG

from dbae.data import TrainingStream
from dbae.train import objective
from dbae.training.folder import RunFolder
from dbae.training.loop import Trainer


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("clip_grad", [None, 1.0])
def test_a_step_reads_no_number(tmp_path, monkeypatch, clip_grad, precision):
    """Loss, gradient, clipping, averages and sums for the log; the optimiser's counters are PyTorch's, on the host."""
    model = small_model()
    config = dataclasses.replace(CONFIG, accumulate=2, clip_grad=clip_grad, precision=precision, log_every=2)
    trainer = Trainer(model, objective, config, RunFolder(tmp_path), small_card(model))
    trainer.start(resume=False)
    _, images = TrainingStream(Pixels(8, model.image_size), torch.arange(8).numpy(), 8, seed=0).batch(0)
    monkeypatch.setattr(trainer.optimizer, "step", lambda: None)
    copied = watch_copies(monkeypatch)
    with Watch() as watch:
        trainer.train_step(images)
    assert (watch.read, copied) == ([], [])
    trainer.train_step(images)  # writes a row of the log
    trainer.log.close()
    assert copied
