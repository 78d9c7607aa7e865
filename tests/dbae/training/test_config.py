"""Options of training."""

from __future__ import annotations

import dataclasses
import math

import pytest
from training_runs import CONFIG, run

from dbae.support.errors import UserError


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("batch_size", 0), ("accumulate", 0), ("log_every", 0), ("save_every", -1), ("preview_every", 0), ("keep", 0),
        ("milestone_every", 0), ("images", -1), ("seed", -1), ("workers", -1), ("lr", 0.0), ("lr", math.nan),
        ("ema_rate", 1.5), ("clip_grad", 0.0),
    ],
)  # fmt: skip
def test_options_out_of_range(option, value):
    name = option.replace("_", "-")
    with pytest.raises(UserError, match=rf"^--{name}: expected .*, found {value}; change --{name}\.$"):
        dataclasses.replace(CONFIG, **{option: value})


def test_micro_batches_share_a_batch_evenly():
    with pytest.raises(UserError, match="that 3 micro-batches share evenly, found 8"):
        dataclasses.replace(CONFIG, accumulate=3)


def test_unusable_device_is_refused(tmp_path):
    with pytest.raises(UserError, match="--device nonsense: not usable on this machine"):
        run(tmp_path, device="nonsense")
