"""Numerical precision of networks: parameters stay float32, autocast chooses what is computed in less."""

from __future__ import annotations

from typing import Literal

import torch

Precision = Literal["fp32", "bf16", "fp16"]


def autocast(device: torch.device, precision: Precision) -> torch.autocast:
    """The context in which networks run; it changes nothing for fp32."""
    low = torch.float16 if precision == "fp16" else torch.bfloat16
    return torch.autocast(device.type, low, enabled=precision != "fp32")


def advice(precision: Precision) -> str:
    """What to do about numbers that are not finite: fp32 cures an overflow, not a bad checkpoint."""
    if precision == "fp32":
        return "The checkpoint itself has diverged: take one from before that."
    return "Use --precision fp32, or a checkpoint from before the training diverged."
