"""Options of training."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import pytest
from training_runs import CONFIG, run

from dbae.support.errors import UserError


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("batch_size", 0), ("accumulate", 0), ("log_every", 0), ("save_every", -1), ("preview_every", 0), ("keep", 0),
        ("milestone_every", 0), ("images", -1), ("seed", -1), ("workers", -1), ("lr", 0.0), ("lr", math.nan),
        ("ema_rate", 1.5), ("clip_grad", 0.0), ("warmup_images", -1),
    ],
)  # fmt: skip
def test_options_out_of_range(option, value):
    name = option.replace("_", "-")
    with pytest.raises(UserError, match=rf"^--{name}: expected .*, found {value}; change --{name}\.$"):
        dataclasses.replace(CONFIG, **{option: value})


def test_learning_rate_rises_and_falls():
    """Steps of 8 of 80 images: a constant rate, a warm-up alone, half a cosine alone and after a warm-up."""

    def rates(**options: Any) -> list[float]:
        config = dataclasses.replace(CONFIG, lr=1.0, **options)
        return [config.rate(seen) for seen in range(0, 80, 8)]

    assert rates() == [1.0] * 10
    assert rates(warmup_images=20) == pytest.approx([0.4, 0.8] + [1.0] * 8)
    cosine = rates(lr_schedule="cosine")
    assert cosine == pytest.approx([math.cos(math.pi * k / 20) ** 2 for k in range(10)])
    assert rates(lr_schedule="cosine", warmup_images=40) == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0, *cosine[::2]])
    assert rates(lr_schedule="cosine", warmup_images=800) == pytest.approx([k / 100 for k in range(1, 11)])


def test_micro_batches_share_a_batch_evenly():
    with pytest.raises(UserError, match="that 3 micro-batches share evenly, found 8"):
        dataclasses.replace(CONFIG, accumulate=3)


def test_unusable_device_is_refused(tmp_path):
    with pytest.raises(UserError, match="--device nonsense: not usable on this machine"):
        run(tmp_path, device="nonsense")
