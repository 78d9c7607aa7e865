"""SAMI and ScoreVAE: the `model`, and how it trains (`method`)."""

from baselines.methods.sami.method import METHOD, SAMIOptions, loss
from baselines.methods.sami.model import SAMI, SAMIConfig

__all__ = ["METHOD", "SAMI", "SAMIConfig", "SAMIOptions", "loss"]
