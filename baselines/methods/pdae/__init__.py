"""PDAE: `model`, its `networks`, `sampling` and `objective`, its authors' files (`official`), and the `method`."""

from baselines.methods.pdae.method import LATENT_SAMPLING, LENGTHS, METHOD
from baselines.methods.pdae.model import (
    GENERATION,
    PDAE,
    PDAEConfig,
    bedroom128,
    celeba64,
    celebahq128,
    faces32,
    faces64,
    faces64s,
    ffhq128,
    horse128,
)
from baselines.methods.pdae.objective import ShiftLoss, loss, shift_loss
from baselines.methods.pdae.official import FACTS, QUESTION, detect, from_official, settled
from baselines.methods.pdae.pretrained import OnPretrained

__all__ = [
    "FACTS",
    "GENERATION",
    "LATENT_SAMPLING",
    "LENGTHS",
    "METHOD",
    "PDAE",
    "QUESTION",
    "OnPretrained",
    "PDAEConfig",
    "ShiftLoss",
    "bedroom128",
    "celeba64",
    "celebahq128",
    "detect",
    "faces32",
    "faces64",
    "faces64s",
    "ffhq128",
    "from_official",
    "horse128",
    "loss",
    "settled",
    "shift_loss",
]
