"""Numerical precision of networks: parameters stay float32, autocast chooses what is computed in less."""

from __future__ import annotations

from typing import Literal

import torch

Precision = Literal["fp32", "bf16", "fp16"]


def autocast(device: torch.device, precision: Precision) -> torch.autocast:
    """The context in which networks run; it changes nothing for fp32."""
    low = torch.float16 if precision == "fp16" else torch.bfloat16
    return torch.autocast(device.type, low, enabled=precision != "fp32")
