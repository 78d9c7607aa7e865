"""PDAE: `model` (the method itself), its `networks`, its `sampling`."""

from baselines.methods.pdae.model import METHOD

__all__ = ["METHOD"]
